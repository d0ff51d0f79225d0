"""A progress bar over the rows of a training, on standard error; no output unless that is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from .position import EpochResult, Position
from .training import Training

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how far a training has come; pass it to :meth:`Training.run` as `on_progress`.

    Parameters
    ----------
    training
        The training to show.
    delay
        Seconds before anything is shown.
    disable
        Show nothing at all.
    """

    def __init__(self, training: Training, *, delay: float = 0.0, disable: bool = False) -> None:
        from tqdm import tqdm

        self._rows = training.rows
        position = training.position
        self._bar: Any = tqdm(
            total=training.epochs * self._rows,
            initial=position.epoch * self._rows + position.rows,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            delay=delay,
            leave=False,
            disable=True if disable else None,
        )

    def __call__(self, position: Position) -> None:
        """Show this position."""
        done = position.epoch * self._rows + position.rows
        if position.rows and done > self._bar.n:
            self._bar.update(done - self._bar.n)

    def describe(self, result: EpochResult) -> None:
        """Show the figures of the last epoch next to the bar."""
        self._bar.set_postfix_str(f"epoch {result.epoch} loss {result.train_loss:.4f}", refresh=False)

    def write(self, line: str) -> None:
        """Print a line above the bar on standard output, without buffering."""
        from tqdm import tqdm

        tqdm.write(line)
        sys.stdout.flush()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
