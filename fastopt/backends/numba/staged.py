"""Training by a rule of several sweeps in compiled code: the tables that :mod:`.stages` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..._constants import LANES
from ...rules import Sweep
from ..network import NetworkSpec
from ..protocol import Array
from ..staged import Frames, StagedTrainer, StagedUpdate
from ..storage import Storage
from .arrays import address
from .engine import moment_part
from .network import NumbaTrainer
from .numbers import compiled_numbers
from .rule import compiled_pass
from .stages import Plan, SpanAt, StageAt, TurnAt

__all__ = ["make_staged_trainer"]


def make_staged_trainer(network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int) -> StagedTrainer:
    """Return what takes steps of the network by the update, compiled.

    Raises
    ------
    NumbaError
        A stage or a number does not compile.
    """
    return _StagedTrainer(network, update, storage, threads)


class _StagedTrainer:
    """The tables of one update, and a trainer of one network that runs it."""

    def __init__(self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int) -> None:
        dtype = storage.arithmetic
        self._frames = Frames(update)
        self._stages = [_Stage(update, number, sweep, storage) for number, sweep in enumerate(update.sweeps)]
        self._spans = np.array(
            [
                (span.group, sum(update.chunks[:number]), update.chunks[number])
                for number, span in enumerate(update.spans)
            ],
            np.int64,
        )
        assert self._spans.shape[1] == SpanAt.SIZE
        self._pieces = np.array(update.pieces(), np.int64)
        self._turns = np.array([_turn(update, numbers) for numbers in update.turns(network)], np.int64)
        assert self._turns.shape[1] == TurnAt.SIZE
        self._codes = (moment_part(dtype), compiled_numbers(update.rule, update.frame))
        self._rows = np.zeros((len(self._stages), StageAt.SIZE), np.int64)
        self._bound: tuple[Array, ...] = ()
        moment, numbers = self._codes
        plan = {
            Plan.STAGES: address(self._rows),
            Plan.SPANS: address(self._spans),
            Plan.PIECES: address(self._pieces),
            Plan.TURNS: address(self._turns),
            Plan.TURN_COUNT: len(self._turns),
            Plan.STAGE_COUNT: len(self._stages),
            Plan.MOMENTS: update.moments,
            Plan.FRAMES: address(self._frames.values),
            Plan.FRAME_SIZE: update.frame.size,
            Plan.GIVEN_SIZE: len(update.frame.given),
            Plan.GROUPS: 1 + max(span.group for span in update.spans),
            Plan.RUN_NUMBERS: numbers.address if numbers else 0,
            Plan.RUN_MOMENT: moment.address,
        }
        self._plan = np.zeros(Plan.SIZE, np.int64)
        for place, number in plan.items():
            self._plan[place] = number
        self._trainer = NumbaTrainer(network, None, dtype, threads, self._plan)

    def __call__(
        self,
        buffers: Sequence[Array],
        gradients: Array,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        given: Array,
        memory: Array,
        loss: float,
    ) -> tuple[float, int]:
        """Take the steps; see :class:`~fastopt.backends.staged.StagedTrainer`."""
        if len(buffers) != len(self._bound) or any(a is not b for a, b in zip(buffers, self._bound, strict=True)):
            for stage, row in zip(self._stages, self._rows, strict=True):
                stage.bind(buffers, row)
            self._bound = tuple(buffers)
        self._plan[Plan.GIVEN] = address(given)
        self._frames.put_memory(memory)
        result = self._trainer(buffers, gradients, inputs, targets, rows, batch, None, loss)
        self._frames.take_memory(memory)
        return result


def _turn(update: StagedUpdate, numbers: range) -> tuple[int, ...]:
    """Return the row of a turn's table."""
    chunks = update.chunks
    first, last = numbers.start, numbers.stop
    return first, last - first, sum(chunks[:first]), sum(chunks[first:last])


class _Stage:
    """The arrays of one stage."""

    def __init__(self, update: StagedUpdate, number: int, sweep: Sweep, storage: Storage) -> None:
        frame, spans = update.frame, len(update.spans)
        self._code = compiled_pass(sweep, storage)
        self._offsets = [span.offset for span in update.spans]
        named = ("p", *update.states)
        self._own = [named.index(name) for name in sweep.buffers if name != "g"]
        places = frame.numbers_of(update.rule, number, with_key=storage.is_random)
        self._number_places = np.array(places, np.int64)
        self._sum_places = np.array([frame.places[name] for name in sweep.sums], np.int64)
        self._numbers = np.zeros((spans, self._number_places.size), storage.arithmetic)
        self._lanes = np.zeros((sum(update.chunks), self._sum_places.size, LANES))

    def bind(self, buffers: Sequence[Array], row: NDArray[np.int64]) -> None:
        """Have the row of the table describe the stage over these buffers."""
        own = [buffers[place] for place in self._own]
        starts = [[*(address(buffer) + offset * buffer.itemsize for buffer in own), offset] for offset in self._offsets]
        self._buffers = np.array(starts, np.int64)
        values = {
            StageAt.CODE: self._code.address,
            StageAt.BUFFERS: address(self._buffers),
            StageAt.BUFFER_COUNT: len(own) + 1,
            StageAt.NUMBERS: address(self._numbers),
            StageAt.NUMBER_PLACES: address(self._number_places),
            StageAt.NUMBER_COUNT: self._number_places.size,
            StageAt.LANES: address(self._lanes),
            StageAt.SUM_PLACES: address(self._sum_places),
            StageAt.SUM_COUNT: self._sum_places.size,
        }
        for place, value in values.items():
            row[place] = value
