"""What each thread does in a call: its share of every phase of every step.

A network, its batches and its rule are numbers in a table here; the parts of a pass, and the rule's own, are addresses
of machine code. So none of them has this compiled anew, and it compiles in a second.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any

from .decorators import inlined
from .intrinsics import begin_flush_to_zero, end_flush_to_zero
from .memory import call_part, whole
from .team import finish_item, next_item

__all__ = ["LARGE_TILE", "ZEROS_FROM", "Call", "Of", "work"]


class Of(IntEnum):
    """Places in the table of one layer; `RESULT` and `DELTA` are addresses in the workspace.

    `PLACES` says where the rows of its inputs begin (-1 for the data), `OWN_PLACES` where those of its results do.
    """

    INPUTS = 0
    OUTPUTS = auto()
    OFFSET = auto()
    ACTIVATION = auto()
    LEAD = auto()
    RESULT = auto()
    DELTA = auto()
    PLACES = auto()
    OWN_PLACES = auto()
    SIZE = auto()


class Call(IntEnum):
    """Places in the table of one call: addresses, and numbers of things. `TILES` and `COPIES` are each thread's own."""

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
    LAYERS = auto()
    DEPTH = auto()
    LOSS = auto()
    HAS_LABELS = auto()
    CONSTANTS = auto()
    LOSSES = auto()
    RIGHT = auto()
    SYNC = auto()
    THREADS = auto()
    TILES = auto()
    TILE_SIZE = auto()
    COPIES = auto()
    COPY_SIZE = auto()
    ZEROS = auto()
    EIGHTS = auto()
    ITEM_SIZE = auto()
    PANEL = auto()
    RUN_WORK = auto()
    RUN_FORWARD = auto()
    RUN_LOSS = auto()
    RUN_DERIVE = auto()
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

WAVES_TO, MOST_WAVES = 8, 4
"""Rows of a batch up to which a forward pass goes from thread to thread, and the most groups of columns in it."""

ZEROS_FROM = 8
"""Where among the constants a panel of zeros begins."""

ROWS_TOGETHER = 256
"""Rows of a part of the forward pass: each part copies its panels of the weights once."""

LOSS_ROWS = 32
"""Rows of a batch from which its loss is worth two threads."""


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
def _waves(rows: Any, n_in: Any, n_out: Any, threads: Any, panel: Any) -> Any:
    """Return in how many groups of columns a small batch's forward pass goes from thread to thread; 0 if it does not.

    A thread then reads the rows of the weights that it has updated, and continues the sums that the one before it has
    begun; a weight that the other thread has changed would take longer to fetch than to multiply.
    """
    alone = threads == 1 or rows > WAVES_TO or n_in < 8 * threads
    if alone or n_in * n_out * (rows + UPDATE_COST) < PARALLEL_FROM:
        return 0
    return min(MOST_WAVES, _parts(n_out, panel))


@inlined
def _wave_item(slot, wave, waves, call, layer, inputs, places, rows, thread):  # type: ignore[no-untyped-def]
    n_in, n_out, lead, itemsize = layer[Of.INPUTS], layer[Of.OUTPUTS], layer[Of.LEAD], call[Call.ITEM_SIZE]
    group, threads = wave - slot, call[Call.THREADS]
    if group < 0 or group >= waves:
        return
    width = _parts(_parts(n_out, call[Call.PANEL]), waves) * call[Call.PANEL]
    left, right = min(n_out, group * width), min(n_out, (group + 1) * width)
    height = _tile_rows(rows, n_in, n_out, threads)
    tiles = _parts(n_in, height)
    top = min(n_in, _parts(slot * tiles, threads) * height)
    bottom = min(n_in, _parts((slot + 1) * tiles, threads) * height)
    if left == right or top == bottom:
        return
    weights = call[Call.PARAMETERS] + itemsize * layer[Of.OFFSET]
    bias, part = weights + itemsize * n_in * n_out, weights + itemsize * top * n_out
    code = layer[Of.ACTIVATION] if bottom == n_in else 0
    copy, out = call[Call.COPIES] + itemsize * thread * call[Call.COPY_SIZE], layer[Of.RESULT]
    run, constants, x = call[Call.RUN_FORWARD], call[Call.CONSTANTS], inputs + itemsize * top
    kind = 2 if top else 0
    call_part(
        run, x, places, part, bottom - top, n_out, kind, bias, out, lead, rows, left, right, code, constants, copy
    )


@inlined
def _forward_item(item, call, layer, inputs, places, rows, part_columns, part_rows, thread):  # type: ignore[no-untyped-def]
    n_in, n_out, lead, itemsize = layer[Of.INPUTS], layer[Of.OUTPUTS], layer[Of.LEAD], call[Call.ITEM_SIZE]
    widths = _parts(n_out, part_columns)
    first, top = item % widths * part_columns, item // widths * part_rows
    last, count = min(n_out, first + part_columns), min(part_rows, rows - top)
    weights = call[Call.PARAMETERS] + itemsize * layer[Of.OFFSET]
    out = layer[Of.RESULT] + itemsize * top * lead
    copy = call[Call.COPIES] + itemsize * thread * call[Call.COPY_SIZE]
    code, constants = layer[Of.ACTIVATION], call[Call.CONSTANTS]
    run = call[Call.RUN_FORWARD]
    part, bias = places + 8 * top, weights + itemsize * n_in * n_out
    call_part(run, inputs, part, weights, n_in, n_out, 0, bias, out, lead, count, first, last, code, constants, copy)


@inlined
def _loss_item(call, layer, start, rows, top, count):  # type: ignore[no-untyped-def]
    lead, itemsize = layer[Of.LEAD], call[Call.ITEM_SIZE]
    skip, first = itemsize * top * lead, 8 * (start + top)
    z, d, losses, right = layer[Of.RESULT] + skip, layer[Of.DELTA] + skip, call[Call.LOSSES], call[Call.RIGHT]
    numbers = call[Call.ROWS] + first
    kind, has_labels, code = call[Call.LOSS], call[Call.HAS_LABELS], layer[Of.ACTIVATION]
    run, outputs, targets, constants = call[Call.RUN_LOSS], layer[Of.OUTPUTS], call[Call.TARGETS], call[Call.CONSTANTS]
    losses, right = losses + first, right + first
    call_part(run, kind, has_labels, z, d, lead, outputs, count, targets, numbers, rows, losses, right)
    if code:
        call_part(call[Call.RUN_DERIVE], code, z, d, lead, count, outputs, constants)


@inlined
def _pass_back(call, layer, below, first, count, rows, copy):  # type: ignore[no-untyped-def]
    """Give the layer below its derivatives by the outputs `first` and on, from the weights as they still are."""
    n_out, lead, itemsize, constants = layer[Of.OUTPUTS], below[Of.LEAD], call[Call.ITEM_SIZE], call[Call.CONSTANTS]
    weights = call[Call.PARAMETERS] + itemsize * (layer[Of.OFFSET] + first * n_out)
    zeros, out, places = constants + itemsize * ZEROS_FROM, below[Of.DELTA] + itemsize * first, layer[Of.OWN_PLACES]
    d, run, code = layer[Of.DELTA], call[Call.RUN_FORWARD], below[Of.ACTIVATION]
    call_part(run, d, places, weights, n_out, n_out, 1, zeros, out, lead, rows, 0, count, 0, constants, copy)
    if code:
        a = below[Of.RESULT] + itemsize * first
        call_part(call[Call.RUN_DERIVE], code, a, out, lead, rows, count, constants)


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
        call_part(update, buffers, start, size, tile, coefficients, 0)
    if first + count == n_in:
        if not fused:
            tile += itemsize * size
        # The bias is the weights' last row, for an input that is 1 in every row of the batch.
        call_part(run, call[Call.CONSTANTS], call[Call.ZEROS], deltas, lead, rows, tile, n_out, 1, eights, copy)
        if fused:
            bias = coefficients + itemsize * call[Call.COEFFICIENT_COUNT]
            call_part(update, buffers, start + size, n_out, tile, bias, 0)


@inlined
def _items(k, depth, rows, n_in, n_out, threads, panel):  # type: ignore[no-untyped-def]
    """Return how many items phase k of a step has, and how many columns and rows an item."""
    if k < depth:
        columns, height = _forward_parts(rows, n_in, n_out, threads, panel)
        return _parts(n_out, columns) * _parts(rows, height), columns, height
    if k == depth:
        height = rows if rows < LOSS_ROWS else _parts(rows, threads)
        return _parts(rows, height), n_out, height
    height = _tile_rows(rows, n_in, n_out, threads)
    return _parts(n_in, height), n_out, height


def work(table: Any, thread: Any) -> None:
    """Do one thread's share of a call."""
    call = whole(table)
    sync = whole(call[Call.SYNC])
    saved = begin_flush_to_zero()
    threads, depth, itemsize = call[Call.THREADS], call[Call.DEPTH], call[Call.ITEM_SIZE]
    total, batch, panel = call[Call.COUNT], call[Call.BATCH], call[Call.PANEL]
    phase, done, start = 0, 0, 0
    coefficients = call[Call.COEFFICIENTS]
    while start < total:
        rows = min(batch, total - start)
        for k in range(2 * depth + 1):
            index = k if k < depth else 2 * depth - k if k > depth else depth - 1
            layer = whole(call[Call.LAYERS] + 8 * Of.SIZE * index)
            below = whole(call[Call.LAYERS] + 8 * Of.SIZE * max(0, index - 1))
            inputs, places = call[Call.INPUTS], call[Call.PLACES] + 8 * start
            if index > 0:
                inputs, places = below[Of.RESULT], layer[Of.PLACES]
            n_in, n_out = layer[Of.INPUTS], layer[Of.OUTPUTS]
            items, columns, height = _items(k, depth, rows, n_in, n_out, threads, panel)
            waves = _waves(rows, n_in, n_out, threads, panel) if k < depth else 0
            wave, last_wave = 0, waves + threads - 2 if waves else 0
            if waves:
                items = threads
            phase += 1
            done += items
            while True:
                item = next_item(sync, thread, threads, phase, items, done)
                if item < 0:
                    if wave == last_wave:
                        break
                    wave += 1
                    phase += 1
                    done += items
                    continue
                if waves:
                    _wave_item(item, wave, waves, call, layer, inputs, places, rows, thread)
                elif k < depth:
                    _forward_item(item, call, layer, inputs, places, rows, columns, height, thread)
                elif k == depth:
                    _loss_item(call, layer, start, rows, item * height, min(height, rows - item * height))
                else:
                    _backward_item(item, call, layer, below, inputs, places, rows, height, coefficients, thread)
                finish_item(sync, threads)
        start += rows
        coefficients += 2 * itemsize * call[Call.COEFFICIENT_COUNT]
    end_flush_to_zero(saved)
