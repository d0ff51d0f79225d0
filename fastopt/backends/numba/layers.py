"""A part of one layer's forward or backward pass: blocks of `products` over a range of its rows and columns."""

from __future__ import annotations

from ..._constants import PARTS
from .decorators import inlined
from .memory import shifted
from .products import copy_panel, forward_block, gradient_block, lanes_of, most_rows

__all__ = [
    "BATCH_TOGETHER",
    "COLUMNS_TOGETHER",
    "HIGH",
    "PACKED_DEPTH",
    "add_range",
    "forward_range",
    "gradient_range",
]

TRANSPOSED = 1
"""The kind of a forward product whose weights lie transposed; of the usual kind, 0, they lie as they are multiplied."""

PACKED_FROM = 16
"""Rows from which copying a panel of the weights pays: each copy is then read several times."""

BATCH_TOGETHER = 128
"""Rows of a batch that are summed over at a time: a panel of so many rows of d stays in the first-level cache."""

HIGH = 8
"""Rows of a block of weights' gradients that are next to each other in a copy of a."""

COPIED_FROM = (64, 512)
"""Rows and columns of d from which its panels, and a's columns, are copied, to be read in the order they lie."""

COLUMNS_TOGETHER = 128
"""Columns of a in a copy: a small part of a second-level cache."""

PACKED_DEPTH = 256
"""Rows of weights in a copy: 32 KiB, for a first-level cache of 48."""


@inlined
def _forward_rows(a, places, w, stride, depth, start, start_stride, out, lead, rows, columns):  # type: ignore[no-untyped-def]
    lanes = lanes_of(w)
    i = 0
    while i < rows:
        left = rows - i
        p, s, o = shifted(places, i), shifted(start, i * start_stride), shifted(out, i * lead)
        step = 1
        if most_rows() >= 8 and left >= 8:
            step = 8
            if columns == 2 * lanes:
                forward_block(8, 2, 0, a, p, w, stride, depth, s, start_stride, o, lead, columns)
            elif columns > lanes:
                forward_block(8, 2, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
            else:
                forward_block(8, 1, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
        elif left >= 4:
            step = 4
            if columns == 2 * lanes:
                forward_block(4, 2, 0, a, p, w, stride, depth, s, start_stride, o, lead, columns)
            elif columns > lanes:
                forward_block(4, 2, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
            else:
                forward_block(4, 1, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
        elif columns == 2 * lanes:
            if left >= 2:
                step = 2
                forward_block(2, 2, 0, a, p, w, stride, depth, s, start_stride, o, lead, columns)
            else:
                forward_block(1, 2, 0, a, p, w, stride, depth, s, start_stride, o, lead, columns)
        elif columns > lanes:
            forward_block(1, 2, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
        else:
            forward_block(1, 1, 1, a, p, w, stride, depth, s, start_stride, o, lead, columns)
        i += step


@inlined
def _copy_transposed(w, stride, depth, columns, out, width):  # type: ignore[no-untyped-def]
    """Write out[k, j] = w[j, k] to rows of `width`."""
    for k in range(0, depth, HIGH):
        count = min(HIGH, depth - k)
        for j in range(columns):
            source, place = shifted(w, j * stride + k), shifted(out, k * width + j)
            for q in range(count):
                place[q * width] = source[q]


def forward_range(  # type: ignore[no-untyped-def]
    a, places, w, depth, stride, kind, start, out, lead, rows, first, last, copy
):
    """Write start + a·W for that many rows and the columns first … last.

    `start` is one row. Of kind `TRANSPOSED`, W's columns are rows of w, and
    `start` is as long as a panel. `copy` has room for a panel.
    """
    lanes, transposed = lanes_of(w), kind == TRANSPOSED
    panel = 2 * lanes
    j = first
    while j < last:
        columns = min(panel, last - j)
        weights, b, o = (
            shifted(w, j * stride if transposed else j),
            shifted(start, 0 if transposed else j),
            shifted(out, j),
        )
        if rows == 1 and last - j >= 4 * panel and not transposed:
            columns = 4 * panel
            forward_block(1, 8, 0, a, places, weights, stride, depth, b, 0, o, lead, columns)
        else:
            width = panel if columns > lanes else lanes
            k = 0
            while k < depth:
                count, line, line_stride = depth, weights, stride
                if transposed:
                    count, line, line_stride = min(PACKED_DEPTH, depth - k), copy, width
                    _copy_transposed(shifted(weights, k), stride, count, columns, copy, width)
                elif rows >= PACKED_FROM:
                    count, line, line_stride = min(PACKED_DEPTH, depth - k), copy, width
                    if columns == panel:
                        copy_panel(2, 0, shifted(weights, k * stride), stride, count, columns, copy)
                    elif width == panel:
                        copy_panel(2, 1, shifted(weights, k * stride), stride, count, columns, copy)
                    else:
                        copy_panel(1, 1, shifted(weights, k * stride), stride, count, columns, copy)
                s, s_stride = (o, lead) if k else (b, 0)
                part = shifted(a, k)
                _forward_rows(part, places, line, line_stride, count, s, s_stride, o, lead, rows, columns)
                k += count
        j += columns


@inlined
def _add(sums, apart, parts, out, columns):  # type: ignore[no-untyped-def]
    for j in range(columns):
        z = sums[j]
        for part in range(1, parts):
            z += sums[part * apart + j]
        out[j] = z


def add_range(sums, apart, parts, out, lead, rows, columns):  # type: ignore[no-untyped-def]
    """Write the sum of the parts, in their order, for that many rows; the parts lie `apart`."""
    for i in range(rows):
        row = shifted(sums, i * lead)
        if parts == PARTS:  # nearly always: a constant, so that the loop over parts unrolls
            _add(row, apart, PARTS, shifted(out, i * lead), columns)
        else:
            _add(row, apart, parts, shifted(out, i * lead), columns)


@inlined
def _gradient_rows(a, apart, places, d, lead, batch, out, n_out, rows, columns, onto):  # type: ignore[no-untyped-def]
    lanes = lanes_of(d)
    r = 0
    while r < rows:
        left = rows - r
        x, o = shifted(a, r // HIGH * apart + r % HIGH), shifted(out, r * n_out)
        step = 1
        if most_rows() >= 8 and left >= 8:
            step = 8
            if columns == 2 * lanes:
                gradient_block(8, 2, 0, x, places, d, lead, batch, o, n_out, columns, onto)
            elif columns > lanes:
                gradient_block(8, 2, 1, x, places, d, lead, batch, o, n_out, columns, onto)
            else:
                gradient_block(8, 1, 1, x, places, d, lead, batch, o, n_out, columns, onto)
        elif left >= 4:
            step = 4
            if columns > lanes:
                gradient_block(4, 2, 1, x, places, d, lead, batch, o, n_out, columns, onto)
            else:
                gradient_block(4, 1, 1, x, places, d, lead, batch, o, n_out, columns, onto)
        elif columns > lanes:
            gradient_block(1, 2, 1, x, places, d, lead, batch, o, n_out, columns, onto)
        else:
            gradient_block(1, 1, 1, x, places, d, lead, batch, o, n_out, columns, onto)
        r += step


@inlined
def _copy_columns(a, places, batch, rows, copy):  # type: ignore[no-untyped-def]
    """Copy that many columns of a, of which eight of one row lie together, then the same eight of the next row."""
    for i in range(batch):
        source = shifted(a, places[i])
        whole = rows // HIGH * HIGH
        for r in range(0, whole, HIGH):
            for q in range(HIGH):
                copy[r * BATCH_TOGETHER + i * HIGH + q] = source[r + q]
        for q in range(rows - whole):
            copy[whole * BATCH_TOGETHER + i * HIGH + q] = source[whole + q]


def gradient_range(a, places, d, lead, batch, out, columns, rows, eights, copy):  # type: ignore[no-untyped-def]
    """Write aᵀ·d for that many columns of a, which are rows of the weights, and all columns of d.

    `eights` are 0, 8, 16 ..., the places of the rows of a copy; `copy` has room for the columns of a and a panel of d.
    """
    panel = 2 * lanes_of(d)
    copied = batch >= COPIED_FROM[0] and columns >= COPIED_FROM[1] and rows >= HIGH
    together = COLUMNS_TOGETHER if copied else rows
    deltas_copy = shifted(copy, COLUMNS_TOGETHER * BATCH_TOGETHER)
    r = 0
    while r < rows:
        height = min(together, rows - r)
        i = 0
        while i < batch:
            count = min(BATCH_TOGETHER, batch - i)
            x, x_apart, x_places = shifted(a, r), HIGH, shifted(places, i)
            if copied:
                _copy_columns(x, x_places, count, height, copy)
                x, x_apart, x_places = copy, HIGH * BATCH_TOGETHER, eights
            j = 0
            while j < columns:
                width = min(panel, columns - j)
                deltas, apart = shifted(d, i * lead + j), lead
                if copied and width == panel:
                    copy_panel(2, 0, deltas, lead, count, width, deltas_copy)
                    deltas, apart = deltas_copy, panel
                o = shifted(out, r * columns + j)
                _gradient_rows(x, x_apart, x_places, deltas, apart, count, o, columns, height, width, i)
                j += width
            i += count
        r += height
