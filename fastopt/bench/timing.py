"""How times are taken and summarised: rounds of samples, the first round dropped, the median of the rest."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = [
    "Summary",
    "calibrate",
    "paired_ratio",
    "plan_round",
    "summarise",
    "time_in_turns",
    "time_samples",
    "without_gc",
]

Run = Callable[[int], None]
"""Does its work that many times, and returns when it is done."""

_SAMPLE_SECONDS = 2e-4
"""The least length of a sample: thousands of times the cost of reading the clock."""

_MOST_SAMPLES = 100

_MOST_TURNS = 10
"""In a round, of cases that are timed together."""


@dataclass(frozen=True)
class Summary:
    """Seconds a call: median and percentiles over all samples, and the median of each round in its order."""

    median: float
    p10: float
    p90: float
    samples: int
    rounds: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {**asdict(self), "rounds": list(self.rounds)}


@contextmanager
def without_gc() -> Iterator[None]:
    """Keep Python's garbage collector from running."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def calibrate(run: Run) -> float:
    """Return about how many seconds a call takes. The first call, which may compile, is not counted."""
    run(1)
    calls = 1
    while True:
        start = time.perf_counter()
        run(calls)
        seconds = time.perf_counter() - start
        if seconds > _SAMPLE_SECONDS:
            return seconds / calls
        calls *= 4


def plan_round(seconds_per_call: float, round_seconds: float) -> tuple[int, int]:
    """Return calls a sample and samples a round.

    Examples
    --------
    >>> plan_round(seconds_per_call=1e-5, round_seconds=0.05)
    (20, 100)
    >>> plan_round(seconds_per_call=0.1, round_seconds=0.05)
    (1, 1)
    """
    calls = max(1, round(_SAMPLE_SECONDS / seconds_per_call))
    return calls, max(1, min(_MOST_SAMPLES, int(round_seconds / (calls * seconds_per_call))))


def time_samples(run: Run, calls: int, samples: int) -> list[float]:
    """Return seconds a call of each sample, after one that is not timed: another contender had the caches before."""
    run(calls)
    seconds = []
    with without_gc():
        for _ in range(samples):
            start = time.perf_counter()
            run(calls)
            seconds.append((time.perf_counter() - start) / calls)
    return seconds


def time_in_turns(runs: Sequence[Run], plans: Sequence[tuple[int, int]]) -> list[list[float]]:
    """Return the samples of each by its own plan: some of the first, some of the second, some of the first again.

    A disturbance of some milliseconds then slows all of them.
    """
    turns = min(_MOST_TURNS, *(samples for _, samples in plans)) if len(plans) > 1 else 1
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(turns):
        for taken, run, (calls, samples) in zip(seconds, runs, plans, strict=True):
            taken += time_samples(run, calls, samples // turns)
    return seconds


def summarise(rounds: Sequence[Sequence[float]]) -> Summary:
    """Return the summary of all rounds but the first.

    Examples
    --------
    >>> summarise([[9.0], [1.0, 2.0], [3.0, 4.0, 5.0]])
    Summary(median=3.0, p10=1.4, p90=4.6, samples=5, rounds=(1.5, 4.0))
    """
    kept = rounds[1:]
    samples = np.concatenate([np.asarray(samples, np.float64) for samples in kept])
    p10, median, p90 = np.percentile(samples, (10, 50, 90))
    medians = tuple(float(np.median(samples)) for samples in kept)
    return Summary(float(median), float(p10), float(p90), len(samples), medians)


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of a/b over rounds taken next to each other: it holds while the machine's speed drifts.

    Examples
    --------
    >>> paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    2.0
    """
    return float(np.median(np.asarray(above) / np.asarray(below)))
