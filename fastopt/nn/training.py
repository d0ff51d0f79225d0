"""The training loop: epochs over a data set in an order that a seed and a position give, and that can be continued."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name, whole_number
from ..data import Dataset, Standardiser, permutation, with_replacement
from ..optim import Optimizer
from ..schedules import get_schedule
from .batches import Batches
from .steps import make_steps

if TYPE_CHECKING:
    from .mlp import MLP

__all__ = ["SAMPLING", "EpochResult", "Position", "Training"]

_EVALUATION_BATCH = 256
_CALL_SECONDS = 0.03  # of compiled code at a time: Ctrl-C and the bar wait for it

SAMPLING: dict[str, Callable[[int, int, int], NDArray[np.int64]]] = {
    "random": lambda n, seed, epoch: with_replacement(n, n, seed=seed, stream=epoch + 1),
    "sequential": lambda n, seed, epoch: np.arange(n),
    "shuffle": lambda n, seed, epoch: permutation(n, seed=seed, stream=epoch + 1),
}
"""Name to the rows of an epoch: drawn with replacement, as they lie, or each once in random order.

Stream 0 of a seed is the one that the first weights are drawn from.
"""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave. Training figures are means over the epoch's batches, each before its update."""

    epoch: int
    train_loss: float
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    samples_per_second: float
    lr: float


@dataclass
class Position:
    """How far a training has come: whole epochs, steps in the one that runs, and what that one has summed up."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int | None = 0
    rows: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


class Training:
    """Trains a model, one epoch at a time.

    Parameters
    ----------
    model : MLP
        Updated in place.
    optimizer : Optimizer
        Over the model's parameters, or over a copy on a GPU: what :meth:`MLP.make_optimizer` gives. Parameters travel
        to the GPU before an epoch and back behind it, or around each step where `on_step` may look at them.
    data : Dataset
        What to learn from.
    test : Dataset, optional
        What to evaluate on behind each epoch.
    standardiser : Standardiser, optional
        Applied to the inputs of both.
    batch_size : int, optional
        Rows a step, the last of an epoch having what remains; None for the whole set, which is gradient descent.
    sampling : {"shuffle", "random", "sequential"}
        Order of the rows: a new permutation each epoch, independent draws, or as they lie.
    schedule : {"constant", "cosine", "linear"}
        What becomes of the learning rate over `epochs`.
    epochs : int
        Where the training ends.
    seed : int
        Gives the order of the rows, together with the epoch's number.
    position : Position, optional
        Where to continue; the beginning by default.

    Raises
    ------
    ValueError, TypeError
        A batch larger than the data, an unknown name, data that does not fit the model, an optimizer of other
        parameters.

    Examples
    --------
    >>> from fastopt.nn import MLP
    >>> from fastopt.data import digits
    >>> model = MLP((64, 16, 10))
    >>> training = Training(model, model.make_optimizer("adam"), digits(), epochs=2)
    >>> [result.epoch for result in training.run()]
    [1, 2]
    """

    def __init__(
        self,
        model: MLP,
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
        if not _updates(optimizer, model):
            raise ValueError("optimizer: it updates other parameters; make it with model.make_optimizer(...)")
        if sampling not in SAMPLING:
            raise unknown_name("sampling", sampling, SAMPLING)
        self.model = model
        self.optimizer = optimizer
        self.batch_size = _check_batch_size(batch_size, len(data))
        self.epochs = whole_number("epochs", epochs, least=0)
        self.position = position or Position()
        self._batches = Batches(model, data, standardiser)
        self._test = None if test is None else Batches(model, test, standardiser)
        self._order = SAMPLING[sampling]
        self._schedule = get_schedule(schedule)
        self._seed = seed
        self._steps = make_steps(model, optimizer, self._batches)
        self._at_once = 1
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
        """Make :meth:`run` return behind the step that runs now, or at once if none does; safe in a signal handler."""
        self._stopped = True

    def run(
        self,
        on_step: Callable[[Position], None] | None = None,
        *,
        on_progress: Callable[[Position], None] | None = None,
    ) -> Iterator[EpochResult]:
        """Train up to `epochs` or until :meth:`stop`, and yield behind each epoch.

        Parameters
        ----------
        on_step
            Called with the position behind each step.
        on_progress
            Called with the position some times a second: compiled code then takes many steps at once, which is faster
            and gives the same bits.
        """
        if on_step:
            self._at_once = 1
        try:
            while self.position.epoch < self.epochs:
                self._epoch(on_step, on_progress)
                if self.position.step < self.steps_per_epoch:
                    return
                yield self._finish()
        finally:
            self._stopped = False

    def evaluate(self, batches: Batches | None = None) -> tuple[float | None, float | None]:
        """Return loss and accuracy on the test part, or on other batches; None for what there is not."""
        batches = batches or self._test
        if batches is None:
            return None, None
        total, right = 0.0, 0
        correct: int | None = 0
        for start in range(0, len(batches), _EVALUATION_BATCH):
            rows = np.arange(start, min(start + _EVALUATION_BATCH, len(batches)))
            loss, correct = self.model.batch_loss(batches.load(rows))
            total += loss * len(rows)
            right += correct or 0
        return total / len(batches), None if correct is None else right / len(batches)

    def _epoch(
        self, on_step: Callable[[Position], None] | None, on_progress: Callable[[Position], None] | None
    ) -> None:
        position, size = self.position, self.batch_size
        order = self._order(self.rows, self._seed, position.epoch)
        self._timed(self._steps.begin)
        try:
            while position.step < self.steps_per_epoch and not self._stopped:
                steps = min(self._at_once, self.steps_per_epoch - position.step)
                seconds = self._take(order[position.step * size : (position.step + steps) * size], steps)
                if on_step:
                    self._timed(self._steps.end)
                    on_step(position)
                    self._timed(self._steps.begin)
                elif self._steps.many:
                    self._at_once = max(1, round(steps * min(2.0, _CALL_SECONDS / max(seconds, 1e-6))))
                if on_progress:
                    on_progress(position)
        finally:
            self._timed(self._steps.end)

    def _timed(self, carry: Callable[[], None]) -> None:
        start = time.perf_counter()
        carry()
        self.position.seconds += time.perf_counter() - start

    def _take(self, rows: NDArray[np.int64], steps: int) -> float:
        """Take that many steps over the rows, note them in the position, and return the seconds they took."""
        position = self.position
        start = time.perf_counter()
        lr_scales = [self._schedule(self._done(number)) for number in range(steps)]
        with np.errstate(over="ignore", invalid="ignore"):  # a training that diverges shows in its losses
            position.loss_sum, correct = self._steps.take(rows, self.batch_size, lr_scales, position.loss_sum)
        position.step += steps
        position.rows += len(rows)
        position.correct = None if correct is None or position.correct is None else position.correct + correct
        seconds = time.perf_counter() - start
        position.seconds += seconds
        return seconds

    def _done(self, ahead: int) -> float:
        return (self.position.epoch + (self.position.step + ahead) / self.steps_per_epoch) / self.epochs

    def _finish(self) -> EpochResult:
        done = self.position
        test_loss, test_accuracy = self.evaluate()
        self.position = Position(epoch=done.epoch + 1)
        return EpochResult(
            epoch=done.epoch + 1,
            train_loss=done.loss_sum / done.rows,
            train_accuracy=None if done.correct is None else done.correct / done.rows,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            samples_per_second=done.rows / done.seconds if done.seconds else math.inf,
            lr=self.optimizer.lr * self.optimizer.lr_scale,
        )


def _updates(optimizer: Optimizer, model: MLP) -> bool:
    """Return whether the optimizer updates the model's parameters, or a copy of them that was made on a device."""
    own: bool = optimizer.layout is model.layout if optimizer.on_device else optimizer.parameters is model.parameters
    return own


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
