"""The costs of a start, and the memory of training: the cases, and a new process for every figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from tempfile import TemporaryDirectory
from typing import Any

from . import fresh
from .rows import Row
from .timing import summarise
from .workers import TIMEOUT, Failure, first_line

__all__ = ["KINDS", "StartCase", "measure_start", "plan_starts"]

KINDS = {
    "import": "import fastopt, NumPy being there",
    "step": "the first Optimizer and step of a process: Adam, float32, 1,000 parameters",
    "fit": "the first MLP and fit of a process: Adam, float32, one batch of 32",
    "memory": "memory of training beyond data, parameters and states: Adam, float32",
}
"""Kinds of start cases."""

_CACHES = ("warm", "cold")
_SIZES = ((784, 128, 10), (784, 1024, 10))
_BATCHES = (32, 1024)

_TILE = 131_072
"""Elements of the gradient that training may keep at a time."""


@dataclass(frozen=True)
class StartCase:
    """Something that a new process does once.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    backend
        Name of the backend; None for ``import``.
    cache
        ``"cold"`` where everything has to be compiled, else ``"warm"``.
    sizes, batch
        The network, float32, and the rows a step.
    threads
        Threads that it may use.
    """

    kind: str
    backend: str | None = None
    cache: str = "warm"
    sizes: tuple[int, ...] = ()
    batch: int = 0
    threads: int = 1

    @property
    def contender(self) -> str:
        """Name of the contender."""
        return f"fastopt-{self.backend}" if self.backend else "fastopt"

    @property
    def memory_bound(self) -> int:
        """Bytes that training should need at most: the layers' outputs for two batches, a tile of the gradient."""
        return 4 * (2 * self.batch * sum(self.sizes[1:]) + _TILE)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"suite": "start", **asdict(self)}


def plan_starts(kinds: Iterable[str], backends: Sequence[str], threads: int) -> list[StartCase]:
    """Return the cases of each kind, in the order of :data:`KINDS`.

    Examples
    --------
    >>> [case.cache for case in plan_starts(["step"], ["numba"], threads=2)]
    ['warm', 'cold']
    """
    cases = [StartCase("import", threads=threads)]
    cases += [StartCase("step", *of, threads=threads) for of in product(backends, _CACHES)]
    cases += [StartCase("fit", *of, _SIZES[0], _BATCHES[0], threads) for of in product(backends, _CACHES)]
    cases += [
        StartCase("memory", backend, "warm", sizes, batch, threads)
        for sizes, batch, backend in product(_SIZES, _BATCHES, backends)
    ]
    chosen = set(kinds)
    return [case for case in cases if case.kind in chosen]


def measure_start(case: StartCase, repeats: int) -> Row:
    """Return the row of so many processes, after a warm one that does not count: it fills the caches."""
    try:
        found = [_ask(case)]
        found += [_ask_without_cache(case) if case.cache == "cold" else _ask(case) for _ in range(repeats)]
    except Failure as error:
        return Row(case.as_dict(), case.contender, "own", "failed", str(error))
    summary = summarise([[value] for value in found]).as_dict()
    if case.kind == "memory":
        figures = {"bytes": summary, "bound_bytes": case.memory_bound}
        return Row(case.as_dict(), case.contender, "own", "ok", figures=figures)
    return Row(case.as_dict(), case.contender, "own", "ok", seconds=summary)


def _ask(case: StartCase, **environment: str) -> float:
    """Return the figure that a new process printed. Raises :class:`Failure`."""
    paths = os.pathsep.join(filter(None, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-P", fresh.__file__, json.dumps(asdict(case))],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": paths, **environment},
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"no answer within {TIMEOUT:.0f} seconds") from None
    if done.returncode:
        raise Failure(first_line((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]))
    lines = done.stdout.split()
    try:
        return float(lines[-1])
    except (IndexError, ValueError):
        raise Failure(f"expected a number, got {first_line(done.stdout)!r}") from None


def _ask_without_cache(case: StartCase) -> float:
    with TemporaryDirectory() as folder:
        return _ask(case, NUMBA_CACHE_DIR=folder)
