"""What a backend is, and the one layout of coefficients that all of them read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._device_memory import DeviceMemory
from ..rules import Rule
from .network import NetworkSpec, Trainer

__all__ = ["PASS_COEFFICIENTS", "Backend", "Coefficients", "Device", "Kernel", "Run", "coefficient_count"]

Array = NDArray[Any]

PASS_COEFFICIENTS = ("grad_scale", "clip_value", "weight_decay", "decay_factor")
"""The first numbers of every coefficient array; the rule's own follow. Before the rule sees an element,

    g ← clip(g · grad_scale, ±clip_value) + weight_decay · p        p ← p · decay_factor

so that loss unscaling, maximizing, both kinds of clipping and both kinds of decay cost no sweep of their own.
"""


def coefficient_count(rule: Rule) -> int:
    """Return the length of the coefficient array that the rule's kernels take."""
    return len(PASS_COEFFICIENTS) + len(rule.coefficient_names)


Run = Callable[[bool], None]
"""A pass over its buffers; sets g to zero behind the update when it is told so."""


class Kernel(Protocol):
    """The passes of one rule over flat buffers of one dtype."""

    def __call__(self, buffers: Sequence[Array], coefficients: Any) -> Run:
        """Return the pass that updates ``buffers = (p, g, *states)`` in place by what the coefficients are then.

        They are a NumPy array, or on a device one of the rows that :meth:`Device.coefficients` has for kernels.
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

    def kernel(self, rule: Rule, dtype: np.dtype[Any], threads: int) -> Kernel:
        """Return the kernel for `rule`, compiled.

        Raises
        ------
        ValueError
            This backend cannot run this rule.
        """

    def trainer(self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int) -> Trainer | None:
        """Return what trains that network in compiled code, or None where the backend has no such code."""

    def sum_of_squares(self, values: Array, threads: int) -> Callable[[], float]:
        """Return what gives Σ x², added in float64 in an order that depends on the size alone."""
