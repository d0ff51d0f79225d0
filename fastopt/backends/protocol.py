"""What a backend is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._device_memory import DeviceMemory
from ..rules import Rule, Sweep
from .network import NetworkSpec, Trainer
from .storage import Storage

__all__ = ["Backend", "Coefficients", "Device", "Kernel", "MatMul", "Run"]

Array = NDArray[Any]

Run = Callable[[bool], None]
"""A pass over its buffers; sets g to zero behind the update when it is told so."""


MatMul = Callable[[Any, Any], Any]
"""The product of two matrices of one dtype, as a new matrix; either may be a transposed view."""


class Kernel(Protocol):
    """The passes of one sweep over flat buffers."""

    def __call__(self, buffers: Sequence[Array], numbers: Any, sums: Any = None, position: int = 0) -> Run:
        """Return the pass that updates the sweep's buffers in place by what its numbers are then.

        Parameters
        ----------
        buffers
            In the order of :attr:`Sweep.buffers`.
        numbers
            Those of :data:`PRELUDE_NUMBERS`, then the sweep's own, then the key of a storage that rounds at random: a
            NumPy array, or on a device one of the rows that :meth:`Device.coefficients` has for kernels.
        sums
            For a sweep with sums: float64 numbers, one for each, that the pass writes.
        position
            Where the buffers begin in those of the whole optimizer, for random numbers. Kernels of a device do without.
        """


class Coefficients(Protocol):
    """Rows of coefficients that are written on the host and read on a device."""

    rows: list[Array]
    read: list[Any]

    def send(self, gradients: Any, limits: Sequence[float]) -> None:
        """Have passes over these gradients read what is in the rows now.

        `limits` are what :meth:`Device.limits` needs: the factor on the gradient, and the limits of the norm of all and
        of each span's, or 0 where there is none.
        """


class Device(Protocol):
    """Memory that is not the host's, and buffers in it: with a size, a shape, a dtype, and slices."""

    def describe(self, name: str, array: Any) -> DeviceMemory:
        """Return what is known of another library's array; `name` is what messages call it.

        Raises
        ------
        TypeError, ValueError
            It does not lie on this device.
        """

    def wrap(self, array: Any) -> Any:
        """Return a buffer in the memory of another library's array, or of what was described, without a copy."""

    def zeros(self, size: int, dtype: np.dtype[Any]) -> Any:
        """Return a new buffer."""

    def clear(self, buffer: Any) -> None:
        """Set a buffer to zero."""

    def write(self, buffer: Any, values: Any) -> None:
        """Copy values, of the device or of the host, into a buffer."""

    def read(self, buffer: Any, out: Array) -> None:
        """Copy a buffer's values into an array of the host, when all work on them is done."""

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        """Return rows of coefficients for the passes of one optimizer."""

    def limits(
        self, sizes: Sequence[int], dtype: np.dtype[Any], coefficients: Any
    ) -> Callable[[Sequence[Any]], Callable[[], None]]:
        """Return what makes of the spans of a gradient of that dtype the launch that limits their norms.

        It writes factors to the coefficients that were sent, by the limits that were sent with them.
        """

    def capture(self, function: Callable[[], object], gradients: Any) -> Callable[[], None]:
        """Return what runs all that the function launches in one go, where passes over these gradients run then."""


class Backend(Protocol):
    """What runs passes."""

    name: str

    device: Device | None
    """Where the buffers of its passes lie; None for NumPy arrays."""

    def describe(self) -> str:
        """Return one line for ``fastopt info``."""

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype that kernels over `dtype` buffers compute in and take their coefficients in."""

    def kernel(self, sweep: Sweep, dtype: np.dtype[Any], threads: int, storage: Storage | None = None) -> Kernel:
        """Return the kernel of a sweep, compiled.

        Parameters
        ----------
        sweep
            What it does.
        dtype
            Of the parameters and the gradient.
        threads
            How many it may use.
        storage
            The dtypes of all buffers, and how numbers are rounded to them. None where states have the dtype of the
            arithmetic, and numbers are rounded to nearest; backends of a device are given no other.

        Raises
        ------
        ValueError, TypeError
            This backend cannot run it.
        """

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return what multiplies matrices of that dtype, each element a sum in one fixed order."""

    def trainer(
        self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int, storage: Storage | None = None
    ) -> Trainer | None:
        """Return what trains that network in compiled code, or None where the backend has no such code."""
