"""The classes of a contender: an optimizer, an optimizer on a GPU, and a network that is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

__all__ = ["Array", "DeviceStepper", "Stepper", "Trainer", "repeated"]

Array = NDArray[Any]


class Stepper(ABC):
    """An optimizer over one flat buffer, as that library's users would make it.

    A subclass takes ``(case, p, g, **options)``. It may keep the arrays or copy them; it must not change `g`.
    """

    @abstractmethod
    def step(self) -> None:
        """Take one step with the gradient as it is."""

    @abstractmethod
    def load_gradient(self, g: Array) -> None:
        """Make these numbers the gradient of the next steps."""

    @abstractmethod
    def fill_state(self, value: float) -> None:
        """Set every element of every state, some steps having been taken."""

    @abstractmethod
    def parameters(self) -> Array:
        """Return the parameters."""

    def wait(self) -> None:
        """Return when all steps are done."""
        return

    def run(self, calls: int) -> None:
        """Take that many steps, and wait for them."""
        step = self.step
        for _ in range(calls):
            step()
        self.wait()


class DeviceStepper(ABC):
    """An optimizer over one flat buffer in a GPU's memory, whose steps run on the default stream.

    A subclass takes ``(case, p, g, **options)``, where the arrays are the host's and are repeated over larger buffers.
    """

    @abstractmethod
    def step(self) -> None:
        """Have the GPU take one step with the gradient as it is."""

    @abstractmethod
    def load_gradient(self, g: Array) -> None:
        """Write these numbers, repeated, where the gradient is."""

    @abstractmethod
    def parameters(self, places: Array) -> Array:
        """Return the parameters at these places, when all steps are done."""

    @classmethod
    def several(cls, count: int, *arguments: Any, **options: Any) -> Sequence[DeviceStepper]:
        """Return as many optimizers, each over buffers of its own."""
        return [cls(*arguments, **options) for _ in range(count)]

    @classmethod
    def graph(cls, steppers: Sequence[DeviceStepper]) -> Callable[[], None]:
        """Return a function that replays one captured step of each in order. None of them has taken a step afterwards.

        Raises
        ------
        NotImplementedError
            It cannot be captured.
        """
        raise NotImplementedError("its steps are not captured in a graph")

    def facts(self) -> dict[str, Any] | None:
        """Return registers, local memory and occupancy of the kernel; None where they are not known."""
        return None

    @classmethod
    def release(cls) -> None:
        """Release memory that belongs to no optimizer any more."""
        return


def repeated(size: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Yield where in a buffer, and from where in a block of that size, each repetition is copied.

    Examples
    --------
    >>> list(repeated(5, 3))
    [(slice(0, 3, None), slice(0, 3, None)), (slice(3, 5, None), slice(0, 2, None))]
    """
    for start in range(0, size, block):
        count = min(block, size - start)
        yield slice(start, start + count), slice(0, count)


class Trainer(ABC):
    """A network being trained, as that library's users would write it at its best.

    A subclass takes ``(case, weights, x, y, **options)`` and starts from copies of the weights.
    """

    @abstractmethod
    def run(self, epochs: int) -> None:
        """Go on training for that many epochs, over the rows in their order, and wait until it is done."""

    @abstractmethod
    def weights(self) -> list[Array]:
        """Return W₁ (inputs × outputs), b₁, W₂, … as they are."""

    def step_seconds(self) -> list[float] | None:
        """Train for one epoch and return how long each step took; None where that cannot be seen."""
        return None
