"""The stages of an update after the gradient of a step or of a layer: sweeps over pieces of spans, numbers in between.

A rule's sweeps and its numbers are addresses of machine code in a table, so that this is compiled once.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any

from ..._constants import LANES
from .decorators import inlined
from .intrinsics import begin_flush_to_zero, end_flush_to_zero
from .memory import as_dtype_of, call_part, pointer_at, shifted, whole
from .team import finish_item, next_item

__all__ = ["Plan", "SpanAt", "StageAt", "TurnAt", "moment_range", "update_in_stages"]


class Plan(IntEnum):
    """Places in the table of an update: addresses, and numbers of things.

    `GIVEN` is what is given for the first step of a call, a row for each group. `MOMENTS` counts the moments at which
    numbers are computed: one before each stage, and one more where something is computed after the last. `TURNS` has
    a row of :class:`TurnAt` for each layer, or one for all of them.
    """

    STAGES = 0
    SPANS = auto()
    PIECES = auto()
    TURNS = auto()
    TURN_COUNT = auto()
    STAGE_COUNT = auto()
    MOMENTS = auto()
    FRAMES = auto()
    FRAME_SIZE = auto()
    GIVEN = auto()
    GIVEN_SIZE = auto()
    GROUPS = auto()
    RUN_NUMBERS = auto()
    RUN_MOMENT = auto()
    SIZE = auto()


class StageAt(IntEnum):
    """Places in the table of one stage: a row of `BUFFERS` and of `NUMBERS` for each span, `LANES` for each chunk.

    A row of `BUFFERS`, of `BUFFER_COUNT`, has their addresses and the position of their first element.
    """

    CODE = 0
    BUFFERS = auto()
    BUFFER_COUNT = auto()
    NUMBERS = auto()
    NUMBER_PLACES = auto()
    NUMBER_COUNT = auto()
    LANES = auto()
    SUM_PLACES = auto()
    SUM_COUNT = auto()
    SIZE = auto()


class SpanAt(IntEnum):
    """Places in the table of one span."""

    GROUP = 0
    FIRST_CHUNK = auto()
    CHUNKS = auto()
    SIZE = auto()


class TurnAt(IntEnum):
    """Places in the table of one turn of updates: the spans that are updated together, and their pieces."""

    FIRST_SPAN = 0
    SPANS = auto()
    FIRST_PIECE = auto()
    PIECES = auto()
    SIZE = auto()


PIECE_SIZE = 5
"""Numbers of a :class:`~fastopt.backends.staged.Piece`."""


@inlined
def _stage(plan: Any, number: Any) -> Any:
    return whole(plan[Plan.STAGES] + 8 * StageAt.SIZE * number)


@inlined
def _span(plan: Any, number: Any) -> Any:
    return whole(plan[Plan.SPANS] + 8 * SpanAt.SIZE * number)


@inlined
def _put_given(plan: Any, first: Any, last: Any, given: Any, frames: Any) -> None:
    """Copy what is given for the step to the end of the frames of some spans."""
    size, count = plan[Plan.FRAME_SIZE], plan[Plan.GIVEN_SIZE]
    for number in range(first, last):
        group = _span(plan, number)[SpanAt.GROUP]
        for k in range(count):
            frames[(number + 1) * size - count + k] = given[group * count + k]


@inlined
def _add_chunks(plan: Any, first_span: Any, last_span: Any, stage: Any, frames: Any) -> None:
    """Add the sums of the chunks in order, for some spans."""
    places, terms = whole(stage[StageAt.SUM_PLACES]), stage[StageAt.SUM_COUNT]
    lanes = pointer_at(stage[StageAt.LANES], frames)
    for number in range(first_span, last_span):
        span = _span(plan, number)
        first = span[SpanAt.FIRST_CHUNK]
        for term in range(terms):
            total = 0.0
            for chunk in range(first, first + span[SpanAt.CHUNKS]):
                total += lanes[(chunk * terms + term) * LANES]
            frames[number * plan[Plan.FRAME_SIZE] + places[term]] = total


@inlined
def _put_numbers(plan: Any, first: Any, last: Any, stage: Any, frames: Any, like: Any) -> None:
    """Write the numbers that the stage takes, in the dtype of the buffers, for some spans."""
    places, count = whole(stage[StageAt.NUMBER_PLACES]), stage[StageAt.NUMBER_COUNT]
    numbers = pointer_at(stage[StageAt.NUMBERS], like)
    for number in range(first, last):
        frame = shifted(frames, number * plan[Plan.FRAME_SIZE])
        for k in range(count):
            numbers[number * count + k] = as_dtype_of(numbers, frame[places[k]])


def moment_range(plan, moment, first, last, given, frames, like):  # type: ignore[no-untyped-def]
    """Compute the numbers of a moment of some spans.

    Parameters
    ----------
    plan
        The table.
    moment
        0 before the first stage, k after the k-th.
    first, last
        The first span, and the one after the last.
    given
        What is given for the step.
    frames
        The frames of all spans.
    like
        A pointer to numbers of the buffers' dtype.
    """
    if moment == 0:
        _put_given(plan, first, last, given, frames)
    else:
        _add_chunks(plan, first, last, _stage(plan, moment - 1), frames)
    if plan[Plan.RUN_NUMBERS]:
        size = plan[Plan.FRAME_SIZE]
        call_part(plan[Plan.RUN_NUMBERS], moment, plan[Plan.FRAMES] + 8 * first * size, size, last - first)
    if moment < plan[Plan.STAGE_COUNT]:
        _put_numbers(plan, first, last, _stage(plan, moment), frames, like)


@inlined
def _piece_item(item: Any, plan: Any, number: Any, gradients: Any, itemsize: Any) -> None:
    """Run a stage over one piece."""
    stage = _stage(plan, number)
    piece = whole(plan[Plan.PIECES] + 8 * PIECE_SIZE * item)
    span, start, size, offset, first_chunk = piece[0], piece[1], piece[2], piece[3], piece[4]
    buffers = stage[StageAt.BUFFERS] + 8 * span * stage[StageAt.BUFFER_COUNT]
    numbers = stage[StageAt.NUMBERS] + itemsize * span * stage[StageAt.NUMBER_COUNT]
    lanes = stage[StageAt.LANES] + 8 * LANES * stage[StageAt.SUM_COUNT] * first_chunk
    call_part(stage[StageAt.CODE], buffers, start, size, gradients + itemsize * offset, numbers, 0, lanes)


@inlined
def update_in_stages(address, number, step, gradients, itemsize, sync, thread, threads, phase, done, saved):  # type: ignore[no-untyped-def]
    """Do one thread's share of a turn of updates; return the counts of phases and of items done.

    Numbers are computed by whichever thread comes first, with the floating-point mode of the host, `saved`.
    """
    plan = whole(address)
    spans = whole(plan[Plan.TURNS] + 8 * TurnAt.SIZE * number)
    first = spans[TurnAt.FIRST_SPAN]
    last, first_piece = first + spans[TurnAt.SPANS], spans[TurnAt.FIRST_PIECE]
    given = plan[Plan.GIVEN] + 8 * step * plan[Plan.GROUPS] * plan[Plan.GIVEN_SIZE]
    for k in range(plan[Plan.STAGE_COUNT] + plan[Plan.MOMENTS]):
        items = spans[TurnAt.PIECES] if k % 2 else 1
        phase += 1
        done += items
        while True:
            item = next_item(sync, thread, threads, phase, items, done)
            if item < 0:
                break
            if k % 2:
                _piece_item(first_piece + item, plan, k // 2, gradients, itemsize)
            else:
                end_flush_to_zero(saved)
                call_part(plan[Plan.RUN_MOMENT], address, k // 2, first, last, given, plan[Plan.FRAMES], gradients)
                begin_flush_to_zero()
            finish_item(sync, threads)
    return phase, done
