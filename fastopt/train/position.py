"""The position of a training, and the figures of each epoch: what a saved training needs to continue."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["EpochResult", "Position"]


@dataclass(frozen=True)
class EpochResult:
    """The figures of one epoch. Training figures are means over its batches, each computed before its update."""

    epoch: int
    train_loss: float
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    samples_per_second: float
    lr: float


@dataclass
class Position:
    """How far a training has come: whole epochs, steps of the current one, and the sums over these steps."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int | None = 0
    rows: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def result(self, test: tuple[float | None, float | None], lr: float) -> EpochResult:
        """Return the figures of the epoch that has just ended.

        Parameters
        ----------
        test
            Loss and accuracy on the test part, None without one.
        lr
            The learning rate of the last step.
        """
        return EpochResult(
            epoch=self.epoch + 1,
            train_loss=self.loss_sum / self.rows,
            train_accuracy=None if self.correct is None else self.correct / self.rows,
            test_loss=test[0],
            test_accuracy=test[1],
            samples_per_second=self.rows / self.seconds if self.seconds else math.inf,
            lr=lr,
        )
