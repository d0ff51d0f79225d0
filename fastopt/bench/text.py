"""How results are written: aligned tables, microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress

__all__ = ["micro", "table"]


def micro(seconds: float) -> str:
    """Return microseconds, to three or four digits."""
    value = seconds * 1e6
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return aligned columns, without the empty ones: names to the left, numbers to the right."""
    filled = [list(line) for line in lines]
    kept = [any(line[k] for line in filled) for k in range(len(titles))]
    rows = [list(compress(line, kept)) for line in (titles, *filled)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if k == 1 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        return "  ".join([*cells, row[-1]]).rstrip()

    return "\n".join(map(line, rows))
