"""What a backend is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..rules import MatrixStage, Sweep
from .network import NetworkSpec, Trainer
from .plan import Plan
from .staged import StagedTrainer, StagedUpdate
from .storage import Storage

__all__ = ["Backend", "Coefficients", "Device", "Kernel", "MatMul", "Numbers", "Run"]

Array = NDArray[Any]

Run = Callable[[bool], None]
"""A pass over its buffers; if its argument is true, it sets g to zero after the update."""

MatMul = Callable[[Any, Any], Any]
"""The product of two of the device's matrices of one dtype, as a new matrix; either may be a transposed view."""


class Kernel(Protocol):
    """The passes of one sweep over flat buffers."""

    def __call__(self, buffers: Sequence[Any], numbers: Any, sums: Any = None, position: int = 0) -> Run:
        """Return the pass that updates the sweep's buffers in place by what its numbers are then.

        Parameters
        ----------
        buffers
            In the order of :attr:`Sweep.buffers`.
        numbers
            Those of :data:`PRELUDE_NUMBERS`, then the sweep's own, then the key of a storage that rounds at random: a
            row that :meth:`Device.coefficients` has for reading; on the host, any NumPy array.
        sums
            For a sweep with sums, what :class:`Numbers` has for it; on the host, a float64 array of one number for
            each, which the pass writes.
        position
            Where the buffers begin in those of the whole optimizer: random bits depend on it.
        """


class Coefficients(Protocol):
    """Rows of numbers that are written on the host, and read where passes run."""

    rows: list[Array]
    read: list[Any]

    def send(self, gradients: Any) -> None:
        """Have passes over these gradients read what is in the rows now."""


class Numbers(Protocol):
    """The numbers of a step with several stages, by the slots of a :class:`~fastopt.backends.plan.Plan`.

    They are computed where the passes run: on a device, the host does not wait for them.
    """

    sums: Sequence[Any]
    """Where each pass writes its sums; None for a pass without sums."""

    def begin(self, given: Sequence[float], gradients: Any) -> None:
        """Take the slots that are given for the next step, whose passes work on these gradients."""

    def compute(self, moment: int) -> None:
        """Compute what a step computes after so many stages, and what the passes of the next stage take."""

    def scalar(self, slot: int) -> Any:
        """Return a number as matrix stages take it."""

    def read(self, slots: Sequence[int]) -> list[float]:
        """Return numbers, when all work on them is done."""

    def write(self, slots: Sequence[int], values: Sequence[float]) -> None:
        """Set numbers."""


class Device(Protocol):
    """Where the buffers of a backend's passes lie. A buffer has a size, a shape, a dtype, and slices."""

    is_host: bool
    """Whether buffers are NumPy arrays."""

    def take(
        self,
        name: str,
        array: Any,
        *,
        dtype: np.dtype[Any] | None = None,
        size: int | None = None,
        writable: bool = True,
    ) -> Any:
        """Return the user's array as a buffer, without a copy; `name` is what messages call it.

        Raises
        ------
        TypeError, ValueError
            Passes cannot work on it; the message says why.
        """

    def check_disjoint(self, buffers: Mapping[str, Any]) -> None:
        """Raise ValueError when two of the named buffers share memory."""

    def zeros(self, size: int, dtype: np.dtype[Any]) -> Any:
        """Return a new buffer."""

    def clear(self, buffer: Any) -> None:
        """Set a buffer to zero."""

    def write(self, buffer: Any, values: Any) -> None:
        """Copy values, of the device or of the host, into a buffer; a number is written to every element."""

    def read(self, buffer: Any, out: Array | None = None) -> Array:
        """Return a buffer's values as a NumPy array, when all work on them is done: in `out`, if that is given."""

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        """Return rows of numbers for the passes of one optimizer."""

    def numbers(self, plan: Plan, table: Coefficients, puts: Sequence[Callable[[Sequence[float]], None]]) -> Numbers:
        """Return what computes the plan's numbers, and hands each pass its own: by its row of the table, or its put."""

    def bind_matrices(
        self, stage: MatrixStage, buffer: Any, shape: tuple[int, ...], matmul: MatMul
    ) -> Callable[[Mapping[str, Any]], None]:
        """Return what replaces a buffer of that shape by what a matrix stage gives, called with the stage's numbers."""

    @property
    def launching(self) -> Callable[[Any], AbstractContextManager[object]] | None:
        """What gives the context in which the stages of a step over these gradients run; None for no context."""

    def capture(self, function: Callable[[], object], gradients: Any) -> Callable[[], None]:
        """Return what runs all that the function launches in one go, where passes over these gradients run then."""


class Backend(Protocol):
    """What runs passes."""

    name: str

    device: Device
    """Where the buffers of its passes lie."""

    def describe(self) -> str:
        """Return one line for ``fastopt info``."""

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype that kernels over `dtype` buffers compute in and take their coefficients in."""

    def kernel(self, sweep: Sweep, storage: Storage, threads: int) -> Kernel:
        """Return the kernel of a sweep over buffers of that storage, compiled.

        Raises
        ------
        ValueError, TypeError
            This backend cannot run it.
        """

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return what multiplies matrices of that dtype, each element a sum in one fixed order."""

    def trainer(self, network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer | None:
        """Return what trains that network in compiled code, or None where the backend has no such code.

        Without a sweep, whose update runs inside the backward pass, it computes gradients only.
        """

    def staged_trainer(
        self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int
    ) -> StagedTrainer | None:
        """Return what trains that network by a rule of several sweeps, many steps in one call.

        None where the backend has no such code, or cannot compute the rule's numbers in it.
        """
