"""The training loop: epochs over a data set, in an order given by a seed, that can stop after any step and continue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .._errors import whole_number
from ..data import Dataset, Standardiser
from ..nn import Network
from ..optim import Optimizer
from ..schedules import get_schedule
from .batches import Batches
from .position import EpochResult, Position
from .program import make_program
from .sampling import get_sampling

__all__ = ["Training"]

_EVALUATION_BATCH = 256
_CALL_SECONDS = 0.03  # of compiled steps in one call: Ctrl-C and the progress bar wait for its end


class Training:
    """Trains a model, one epoch at a time.

    Parameters
    ----------
    model : Network
        Updated in place.
    optimizer : Optimizer
        Made by :meth:`MLP.make_optimizer`, or over the model's parameters. If its parameters are on a GPU, the model's
        are copied there before an epoch and back after it, or before and after each step with `on_step`.
    data : Dataset
        The training part.
    test : Dataset, optional
        The part to evaluate on after each epoch.
    standardiser : Standardiser, optional
        Applied to the inputs of both parts.
    batch_size : int, optional
        Rows in a step, the last step of an epoch having the remainder; None for all rows, which is gradient descent.
    sampling : {"shuffle", "random", "sequential"}
        Order of the rows: a new permutation in each epoch, independent draws, or the order of the data.
    schedule : {"constant", "cosine", "linear"}
        How the learning rate changes over `epochs`.
    epochs : int
        The total number of epochs.
    seed : int
        Determines the order of the rows, together with the epoch's number.
    position : Position, optional
        Where to continue; the beginning by default.

    Attributes
    ----------
    position : Position
        How far the training has come. Together with the model and the optimizer it is all that is needed to continue.

    Raises
    ------
    ValueError, TypeError
        A batch larger than the data, an unknown name, data that does not fit the model, or an optimizer of other
        parameters.

    Examples
    --------
    >>> from fastopt import MLP
    >>> from fastopt.data import digits
    >>> model = MLP((64, 16, 10))
    >>> training = Training(model, model.make_optimizer("adam"), digits(), epochs=2)
    >>> [result.epoch for result in training.run()]
    [1, 2]
    """

    def __init__(
        self,
        model: Network,
        optimizer: Optimizer,
        data: Dataset,
        *,
        test: Dataset | None = None,
        standardiser: Standardiser | None = None,
        batch_size: int | None = 32,
        sampling: str = "shuffle",
        schedule: str = "constant",
        epochs: int = 10,
        seed: int = 0,
        position: Position | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.batch_size = _check_batch_size(batch_size, len(data))
        self.epochs = whole_number("epochs", epochs, least=0)
        self.position = position or Position()
        self._sampling = get_sampling(sampling)
        self._schedule = get_schedule(schedule)
        self._seed = seed
        self._batches = Batches(model, data, standardiser)
        self._test = None if test is None else Batches(model, test, standardiser)
        self._program = make_program(model, optimizer, self._batches)
        self._steps_per_call = 1
        self._stopped = False

    @property
    def rows(self) -> int:
        """Number of rows in an epoch."""
        return len(self._batches)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.rows // self.batch_size)

    def stop(self) -> None:
        """Make :meth:`run` return after the current step, or immediately if none runs; safe in a signal handler."""
        self._stopped = True

    def run(
        self,
        on_step: Callable[[Position], None] | None = None,
        *,
        on_progress: Callable[[Position], None] | None = None,
    ) -> Iterator[EpochResult]:
        """Train up to `epochs` or until :meth:`stop`, and yield after each epoch.

        Parameters
        ----------
        on_step
            Called with the position after each step.
        on_progress
            Called with the position several times a second. Compiled code then takes many steps in one call, which is
            faster and gives the same bits.
        """
        if on_step:
            self._steps_per_call = 1
        try:
            while self.position.epoch < self.epochs:
                self._epoch(on_step, on_progress)
                if self.position.step < self.steps_per_epoch:
                    return
                yield self._finish()
        finally:
            self._stopped = False

    def download(self) -> None:
        """Copy parameters and states from the device that trains, if one does, to the model and the optimizer."""
        self._timed(self._program.download)

    def evaluate(self, batches: Batches | None = None) -> tuple[float | None, float | None]:
        """Return loss and accuracy on the test part or on other batches; None for what does not exist."""
        batches = batches or self._test
        if batches is None:
            return None, None
        return self.model.evaluate_batches(batches.load_in_order(_EVALUATION_BATCH))

    def _epoch(
        self, on_step: Callable[[Position], None] | None, on_progress: Callable[[Position], None] | None
    ) -> None:
        position, size = self.position, self.batch_size
        order = self._sampling(self.rows, self._seed, position.epoch)
        self._timed(self._program.upload)
        try:
            while position.step < self.steps_per_epoch and not self._stopped:
                steps = min(self._steps_per_call, self.steps_per_epoch - position.step)
                seconds = self._take(order[position.step * size : (position.step + steps) * size], steps)
                if on_step:
                    self.download()
                    on_step(position)
                    self._timed(self._program.upload)
                elif self._program.takes_many:
                    self._steps_per_call = max(1, round(steps * min(2.0, _CALL_SECONDS / max(seconds, 1e-6))))
                if on_progress:
                    on_progress(position)
        finally:
            self.download()

    def _timed(self, copy: Callable[[], None]) -> None:
        start = time.perf_counter()
        copy()
        self.position.seconds += time.perf_counter() - start

    def _take(self, rows: NDArray[np.int64], steps: int) -> float:
        """Take the steps over the rows, add them to the position, and return the seconds they took."""
        position = self.position
        start = time.perf_counter()
        if not self._program.is_current:
            self._program = make_program(self.model, self.optimizer, self._batches)
        lr_scales = [self._schedule(self._share_done(step)) for step in range(steps)]
        with np.errstate(over="ignore", invalid="ignore"):  # the losses show that a training diverges
            position.loss_sum, correct = self._program.take(rows, self.batch_size, lr_scales, position.loss_sum)
        position.step += steps
        position.rows += len(rows)
        position.correct = None if correct is None or position.correct is None else position.correct + correct
        seconds = time.perf_counter() - start
        position.seconds += seconds
        return seconds

    def _share_done(self, ahead: int) -> float:
        return (self.position.epoch + (self.position.step + ahead) / self.steps_per_epoch) / self.epochs

    def _finish(self) -> EpochResult:
        result = self.position.result(self.evaluate(), self.optimizer.lr * self.optimizer.lr_scale)
        self.position = Position(epoch=result.epoch)
        return result


def _check_batch_size(batch_size: int | None, rows: int) -> int:
    if batch_size is None:
        return rows
    batch_size = whole_number("batch_size", batch_size)
    if batch_size > rows:
        raise ValueError(
            f"batch_size: got {batch_size}, expected at most {rows}, the rows of the training data; "
            "pass None (on the command line: --batch-size all) for the whole set in each step"
        )
    return batch_size
