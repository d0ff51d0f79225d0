"""What a contender is: a library in a configuration, that takes optimizer steps, trains, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from numpy.typing import NDArray

__all__ = ["Array", "Stepper", "Trainer"]

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
        """Return when everything that was begun is done."""
        return

    def run(self, calls: int) -> None:
        """Take that many steps, and wait for them."""
        step = self.step
        for _ in range(calls):
            step()
        self.wait()


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
