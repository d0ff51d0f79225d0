"""Which GPU cases there are, which of them the device's memory holds, and how many sets of buffers take turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from ...runs.settings import find_rule
from ..cases import MOVED, GpuCase

__all__ = [
    "COLD",
    "GRAPH_UP_TO",
    "SIZES",
    "bytes_held",
    "bytes_of",
    "fits_together",
    "plan_gpu",
    "rotation",
    "why_too_large",
]

SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)

GRAPH_UP_TO = 1_000_000
"""Parameters. In larger steps the cost of a launch does not show."""

COLD = 4
"""Sizes of the cache that pass between two visits to the same buffer."""

_MOST_SETS = 4096
_STEPS_OF_A_GRAPH = 16
_SETS_OF_ONE = {"launch": 32, "overhead": 1}
_TEMPORARIES = 1.6
"""Memory of a contender, as a multiple of its buffers."""


def plan_gpu(rules: Iterable[str], dtypes: Iterable[str], sizes: Sequence[int], kinds: Iterable[str]) -> list[GpuCase]:
    """Return the cases: the device's memory first, then each kind, the rules in their order within it."""
    chosen = set(kinds)
    cases = [GpuCase(name, "float32", size, "memory") for name in MOVED for size in sizes if "memory" in chosen]
    pairs = list(product(rules, dtypes))
    by_kind = {
        "step": sizes,
        "graph": [size for size in sizes if size <= GRAPH_UP_TO],
        "launch": (1,),
        "overhead": (1,),
    }
    for kind, taken in by_kind.items():
        cases += [GpuCase(rule, dtype, size, kind) for rule, dtype in pairs for size in taken if kind in chosen]
    return cases


def bytes_of(case: GpuCase) -> int:
    """Return the bytes that have to be read and written.

    Examples
    --------
    >>> bytes_of(GpuCase("adam", "float32", 1000))
    28000
    >>> bytes_of(GpuCase("triad", "float32", 1000, "memory"))
    12000
    """
    words = MOVED[case.rule] if case.kind == "memory" else find_rule(case.rule).words_per_parameter()
    return words * np.dtype(case.dtype).itemsize * case.size


def bytes_held(case: GpuCase) -> int:
    """Return the bytes of one set of buffers."""
    words = MOVED[case.rule] if case.kind == "memory" else 2 + len(find_rule(case.rule).states)
    return words * np.dtype(case.dtype).itemsize * case.size


def rotation(case: GpuCase, cache: int) -> int:
    """Return how many sets of buffers take turns, so that none is in a cache of that size when its turn comes.

    In a graph each takes one step, and so there are some more, to share the cost of the graph itself; of one parameter
    so many that no optimizer's host is far ahead of the GPU.

    Examples
    --------
    >>> rotation(GpuCase("adam", "float32", 100_000), cache=50_000_000)
    125
    >>> rotation(GpuCase("adam", "float32", 100_000_000), cache=50_000_000)
    1
    """
    if case.kind in _SETS_OF_ONE:
        return _SETS_OF_ONE[case.kind]
    cold = min(_MOST_SETS, -(-COLD * cache // bytes_held(case)))
    return max(cold, _STEPS_OF_A_GRAPH) if case.kind == "graph" else cold


def why_too_large(case: GpuCase, free: int, cache: int) -> str | None:
    """Return why the device's free memory does not hold the case; None where it does.

    Examples
    --------
    >>> why_too_large(GpuCase("adam", "float64", 1_000_000_000), free=24_000_000_000, cache=50_000_000)
    "it takes 51.2 GB of the device's memory, of which 24 GB are free"
    """
    taken = _taken(case, cache)
    if taken <= 0.95 * free:
        return None
    return f"it takes {taken / 1e9:.3g} GB of the device's memory, of which {free / 1e9:.3g} GB are free"


def fits_together(case: GpuCase, contenders: int, free: int, cache: int) -> bool:
    """Return whether the device's memory holds the buffers of so many contenders at once."""
    return contenders * _taken(case, cache) <= 0.8 * free


def _taken(case: GpuCase, cache: int) -> float:
    return _TEMPORARIES * rotation(case, cache) * bytes_held(case)
