"""What each thread does in a call: its share of every phase of every step.

A network, its batches and its rule are numbers in a table here; the parts of a pass, and the rule's own, are addresses
of machine code. So none of them has this compiled anew, and it compiles in a second.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any

from ..._constants import FEW_ROWS, MOST_ROWS, PARTS, PARTS_FROM, PARTS_TO
from .decorators import inlined
from .intrinsics import begin_flush_to_zero, end_flush_to_zero
from .memory import call_part, whole
from .stages import Plan, update_in_stages
from .team import finish_item, next_item

__all__ = ["LARGE_TILE", "Call", "Of", "most_part_rows", "work"]


class Of(IntEnum):
    """Places in the table of one layer.

    `WEIGHTED` (sums, which the activation is applied to), `RESULT`, `DELTA` and `SUMS` (of parts) are addresses in the
    workspace; `WEIGHTED` is `RESULT` unless the sums are kept. `ACTIVATE` and `DERIVE` are addresses of machine code, 0
    for the identity, and `AT_ZERO` is that of the slope at zero.
    `PLACES` says where the rows of its inputs begin (-1 for the data), `OWN_PLACES` where those of its results do.
    """

    INPUTS = 0
    OUTPUTS = auto()
    OFFSET = auto()
    ACTIVATE = auto()
    DERIVE = auto()
    AT_ZERO = auto()
    LEAD = auto()
    WEIGHTED = auto()
    RESULT = auto()
    DELTA = auto()
    PLACES = auto()
    OWN_PLACES = auto()
    SUMS = auto()
    SIZE = auto()


class Call(IntEnum):
    """Places in the table of one call: addresses, and numbers of things.

    `TILES` and `COPIES` are each thread's own; `NOTHING` is a row of zeros, a panel at least, and `ONE`
    is the number 1. `PLAN` is the table of an update in stages, 0 where there is none.
    """

    INPUTS = 0
    TARGETS = auto()
    PLACES = auto()
    ROWS = auto()
    COUNT = auto()
    BATCH = auto()
    COEFFICIENTS = auto()
    COEFFICIENT_COUNT = auto()
    BUFFERS = auto()
    PARAMETERS = auto()
    GRADIENTS = auto()
    PLAN = auto()
    LAYERS = auto()
    DEPTH = auto()
    HAS_LABELS = auto()
    ONE = auto()
    LOSSES = auto()
    RIGHT = auto()
    SYNC = auto()
    THREADS = auto()
    TILES = auto()
    TILE_SIZE = auto()
    COPIES = auto()
    COPY_SIZE = auto()
    NOTHING = auto()
    ZEROS = auto()
    EIGHTS = auto()
    ITEM_SIZE = auto()
    PANEL = auto()
    RUN_WORK = auto()
    RUN_FORWARD = auto()
    RUN_ADD = auto()
    RUN_LOSS = auto()
    RUN_GRADIENT = auto()
    RUN_UPDATE = auto()
    SIZE = auto()


PARALLEL_FROM = 60_000
"""Multiply-adds of a phase from which it is worth a second thread's waking up."""

UPDATE_COST = 12
"""Multiply-adds that the update of one parameter takes as long as."""

SMALL_TILE, TILE, LARGE_TILE = 8192, 32_768, 131_072
"""Elements of a tile of weights for batches of up to 16 rows, of up to 64, and larger ones. A small batch's tile stays
near the processor; a large one's makes up for reading all of d for each tile."""

ROWS_TOGETHER = 256
"""Rows of a part of the forward pass: each part copies its panels of the weights once."""

LOSS_ROWS = 32
"""Rows of a batch from which its loss is worth two threads."""

ADDED_FROM = 2048
"""Sums from which adding their parts is worth two threads."""

PRODUCTS, ADDITION, LOSS, BACKWARD = 0, 1, 2, 3
"""What is done in a phase."""


@inlined
def _parts(size: Any, part: Any) -> Any:
    return (size + part - 1) // part


@inlined
def _forward_parts(rows: Any, n_in: Any, n_out: Any, threads: Any, panel: Any) -> Any:
    """Return how many columns and how many rows one item of a forward pass has."""
    panels = _parts(n_out, panel)
    if threads == 1 or rows * n_in * n_out < PARALLEL_FROM:
        return panels * panel, rows
    if panels < threads:
        return panels * panel, min(ROWS_TOGETHER, _parts(_parts(rows, threads), 8) * 8)
    if rows < 8:
        return _parts(panels, threads) * panel, rows
    return panel, min(ROWS_TOGETHER, rows)


@inlined
def _tile_rows(rows: Any, n_in: Any, n_out: Any, threads: Any) -> Any:
    """Return how many rows of weights one item of a backward pass has: as many items for each thread."""
    blocks = _parts(n_in, 8)
    size = SMALL_TILE if rows <= 16 else TILE if rows <= 64 else LARGE_TILE
    sharing = 1 if n_in * n_out * (rows + UPDATE_COST) < PARALLEL_FROM else threads
    tiles = sharing * max(1, _parts(blocks * 8 * n_out, sharing * size))
    return _parts(blocks, tiles) * 8


@inlined
def _part_rows(n_in: Any) -> Any:
    """Return how many inputs a part has: whole blocks, so that none is empty."""
    return _parts(_parts(n_in, 8), PARTS) * 8


def most_part_rows(n_in: Any, n_out: Any) -> Any:
    """Return the rows of the largest batch for which a layer is summed in parts."""
    size = n_in * n_out
    return 0 if size < PARTS_FROM else FEW_ROWS if size > PARTS_TO else MOST_ROWS


_most_part_rows = inlined(most_part_rows)


@inlined
def _sum_parts(rows: Any, n_in: Any, n_out: Any) -> Any:
    """Return in how many parts a layer is summed."""
    return 1 if rows > _most_part_rows(n_in, n_out) else _parts(n_in, _part_rows(n_in))


@inlined
def _part_item(item, call, layer, inputs, places, rows, part_columns, thread):  # type: ignore[no-untyped-def]
    """Sum one part of the inputs, for some columns and all rows."""
    n_in, n_out, lead, itemsize = layer[Of.INPUTS], layer[Of.OUTPUTS], layer[Of.LEAD], call[Call.ITEM_SIZE]
    widths = _parts(n_out, part_columns)
    part, first = item // widths, item % widths * part_columns
    top = part * _part_rows(n_in)
    count = min(_part_rows(n_in), n_in - top)
    weights = call[Call.PARAMETERS] + itemsize * (layer[Of.OFFSET] + top * n_out)
    start = call[Call.NOTHING]
    if part == 0:
        start = weights + itemsize * n_in * n_out
    out = layer[Of.SUMS] + itemsize * part * rows * lead
    copy = call[Call.COPIES] + itemsize * thread * call[Call.COPY_SIZE]
    run, last = call[Call.RUN_FORWARD], min(n_out, first + part_columns)
    x = inputs + itemsize * top
    call_part(run, x, places, weights, count, n_out, 0, start, out, lead, rows, first, last, copy)


@inlined
def _activate(layer, skip, rows, columns):  # type: ignore[no-untyped-def]
    """Apply the activation to the weighted sums from so many bytes on."""
    if layer[Of.ACTIVATE]:
        z, a = layer[Of.WEIGHTED] + skip, layer[Of.RESULT] + skip
        call_part(layer[Of.ACTIVATE], z, a, layer[Of.LEAD], rows, columns)


@inlined
def _derive(layer, skip, rows, columns):  # type: ignore[no-untyped-def]
    """Take the derivatives by the outputs on to those by the weighted sums, from so many bytes on."""
    if layer[Of.DERIVE]:
        z, a, d = layer[Of.WEIGHTED] + skip, layer[Of.RESULT] + skip, layer[Of.DELTA] + skip
        call_part(layer[Of.DERIVE], z, a, d, layer[Of.AT_ZERO], layer[Of.LEAD], rows, columns)


@inlined
def _add_item(call, layer, rows, parts, top, count):  # type: ignore[no-untyped-def]
    """Add the parts of some rows, and apply the activation."""
    lead, n_out = layer[Of.LEAD], layer[Of.OUTPUTS]
    skip = call[Call.ITEM_SIZE] * top * lead
    sums, out = layer[Of.SUMS] + skip, layer[Of.WEIGHTED] + skip
    call_part(call[Call.RUN_ADD], sums, rows * lead, parts, out, lead, count, n_out)
    _activate(layer, skip, count, n_out)


@inlined
def _forward_item(item, call, layer, inputs, places, rows, part_columns, part_rows, thread):  # type: ignore[no-untyped-def]
    n_in, n_out, lead, itemsize = layer[Of.INPUTS], layer[Of.OUTPUTS], layer[Of.LEAD], call[Call.ITEM_SIZE]
    widths = _parts(n_out, part_columns)
    first, top = item % widths * part_columns, item // widths * part_rows
    last, count = min(n_out, first + part_columns), min(part_rows, rows - top)
    weights = call[Call.PARAMETERS] + itemsize * layer[Of.OFFSET]
    skip = itemsize * top * lead
    out, run = layer[Of.WEIGHTED] + skip, call[Call.RUN_FORWARD]
    copy = call[Call.COPIES] + itemsize * thread * call[Call.COPY_SIZE]
    part, bias = places + 8 * top, weights + itemsize * n_in * n_out
    call_part(run, inputs, part, weights, n_in, n_out, 0, bias, out, lead, count, first, last, copy)
    _activate(layer, skip + itemsize * first, count, last - first)


@inlined
def _loss_item(call, layer, start, rows, top, count):  # type: ignore[no-untyped-def]
    lead, itemsize = layer[Of.LEAD], call[Call.ITEM_SIZE]
    skip, first = itemsize * top * lead, 8 * (start + top)
    z, d, losses, right = layer[Of.RESULT] + skip, layer[Of.DELTA] + skip, call[Call.LOSSES], call[Call.RIGHT]
    numbers = call[Call.ROWS] + first
    run, has_labels, outputs, targets = (
        call[Call.RUN_LOSS],
        call[Call.HAS_LABELS],
        layer[Of.OUTPUTS],
        call[Call.TARGETS],
    )
    losses, right = losses + first, right + first
    call_part(run, has_labels, z, d, lead, outputs, count, targets, numbers, rows, losses, right)
    _derive(layer, skip, count, outputs)


@inlined
def _pass_back(call, layer, below, first, count, rows, copy):  # type: ignore[no-untyped-def]
    """Give the layer below its derivatives by the outputs `first` and on, from the weights as they still are."""
    n_out, lead, itemsize = layer[Of.OUTPUTS], below[Of.LEAD], call[Call.ITEM_SIZE]
    weights = call[Call.PARAMETERS] + itemsize * (layer[Of.OFFSET] + first * n_out)
    zeros, out, places = call[Call.NOTHING], below[Of.DELTA] + itemsize * first, layer[Of.OWN_PLACES]
    d, run = layer[Of.DELTA], call[Call.RUN_FORWARD]
    call_part(run, d, places, weights, n_out, n_out, 1, zeros, out, lead, rows, 0, count, copy)
    _derive(below, itemsize * first, rows, count)


@inlined
def _backward_item(item, call, layer, below, inputs, places, rows, height, coefficients, thread):  # type: ignore[no-untyped-def]
    n_in, n_out, lead, itemsize = layer[Of.INPUTS], layer[Of.OUTPUTS], layer[Of.LEAD], call[Call.ITEM_SIZE]
    first = item * height
    count = min(height, n_in - first)
    copy = call[Call.COPIES] + itemsize * thread * call[Call.COPY_SIZE]
    if layer[Of.PLACES] >= 0:
        _pass_back(call, layer, below, first, count, rows, copy)
    deltas, start, size = layer[Of.DELTA], layer[Of.OFFSET] + first * n_out, count * n_out
    run, update, buffers = call[Call.RUN_GRADIENT], call[Call.RUN_UPDATE], call[Call.BUFFERS]
    fused, eights = call[Call.GRADIENTS] == 0, call[Call.EIGHTS]
    tile = call[Call.TILES] + itemsize * thread * call[Call.TILE_SIZE]
    if not fused:
        tile = call[Call.GRADIENTS] + itemsize * start
    call_part(run, inputs + itemsize * first, places, deltas, lead, rows, tile, n_out, count, eights, copy)
    if fused:
        call_part(update, buffers, start, size, tile, coefficients, 0, 0)
    if first + count == n_in:
        if not fused:
            tile += itemsize * size
        # The bias is the weights' last row, for an input that is 1 in every row of the batch.
        call_part(run, call[Call.ONE], call[Call.ZEROS], deltas, lead, rows, tile, n_out, 1, eights, copy)
        if fused:
            bias = coefficients + itemsize * call[Call.COEFFICIENT_COUNT]
            call_part(update, buffers, start + size, n_out, tile, bias, 0, 0)


@inlined
def _items(stage, rows, n_in, n_out, threads, panel):  # type: ignore[no-untyped-def]
    """Return how many items a phase has, how many columns and rows an item, and in how many parts sums are."""
    parts = _sum_parts(rows, n_in, n_out)
    if stage == PRODUCTS and parts > 1:
        groups = 1 if threads <= parts else _parts(threads, parts)
        columns = _parts(_parts(n_out, panel), groups) * panel
        return parts * _parts(n_out, columns), columns, rows, parts
    if stage == PRODUCTS:
        columns, height = _forward_parts(rows, n_in, n_out, threads, panel)
        return _parts(n_out, columns) * _parts(rows, height), columns, height, parts
    if stage == ADDITION:
        height = rows if rows * n_out < ADDED_FROM else _parts(rows, threads)
        return (_parts(rows, height) if parts > 1 else 0), n_out, height, parts
    if stage == LOSS:
        height = rows if rows < LOSS_ROWS else _parts(rows, threads)
        return _parts(rows, height), n_out, height, parts
    height = _tile_rows(rows, n_in, n_out, threads)
    return _parts(n_in, height), n_out, height, parts


@inlined
def _phase(k, depth):  # type: ignore[no-untyped-def]
    """Return what is done in phase k of a step, and in which layer."""
    if k < 2 * depth:
        return (PRODUCTS if k % 2 == 0 else ADDITION), k // 2
    if k == 2 * depth:
        return LOSS, depth - 1
    return BACKWARD, 3 * depth - k


def work(table: Any, thread: Any) -> None:
    """Do one thread's share of a call."""
    call = whole(table)
    sync = whole(call[Call.SYNC])
    saved = begin_flush_to_zero()
    threads, depth, itemsize = call[Call.THREADS], call[Call.DEPTH], call[Call.ITEM_SIZE]
    total, batch, panel = call[Call.COUNT], call[Call.BATCH], call[Call.PANEL]
    phase, done, start, step = 0, 0, 0, 0
    plan, gradients, turns = call[Call.PLAN], call[Call.GRADIENTS], 0
    if plan:
        turns = whole(plan)[Plan.TURN_COUNT]
    coefficients = call[Call.COEFFICIENTS]
    while start < total:
        rows = min(batch, total - start)
        for k in range(3 * depth + 1):
            stage, index = _phase(k, depth)
            layer = whole(call[Call.LAYERS] + 8 * Of.SIZE * index)
            below = whole(call[Call.LAYERS] + 8 * Of.SIZE * max(0, index - 1))
            inputs, places = call[Call.INPUTS], call[Call.PLACES] + 8 * start
            if index > 0:
                inputs, places = below[Of.RESULT], layer[Of.PLACES]
            items, columns, height, parts = _items(stage, rows, layer[Of.INPUTS], layer[Of.OUTPUTS], threads, panel)
            if not items:
                continue
            phase += 1
            done += items
            while True:
                item = next_item(sync, thread, threads, phase, items, done)
                if item < 0:
                    break
                if stage == PRODUCTS and parts > 1:
                    _part_item(item, call, layer, inputs, places, rows, columns, thread)
                elif stage == PRODUCTS:
                    _forward_item(item, call, layer, inputs, places, rows, columns, height, thread)
                elif stage == ADDITION:
                    _add_item(call, layer, rows, parts, item * height, min(height, rows - item * height))
                elif stage == LOSS:
                    _loss_item(call, layer, start, rows, item * height, min(height, rows - item * height))
                else:
                    _backward_item(item, call, layer, below, inputs, places, rows, height, coefficients, thread)
                finish_item(sync, threads)
            if stage == BACKWARD and (turns == depth or (turns == 1 and index == 0)):
                number = index if turns == depth else 0
                phase, done = update_in_stages(
                    plan, number, step, gradients, itemsize, sync, thread, threads, phase, done, saved
                )
        start += rows
        step += 1
        coefficients += 2 * itemsize * call[Call.COEFFICIENT_COUNT]
    end_flush_to_zero(saved)
