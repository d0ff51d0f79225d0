"""The benchmarks from beginning to end: the contenders, the cases one by one, the results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..backends import why_missing
from .cases import GpuCase, StepCase, TrainCase
from .contenders import CONTENDERS
from .machine import driver_facts
from .results import Results
from .rounds import Effort, left_out, measure_gpu, measure_step, measure_training
from .rows import Row
from .starts import StartCase, measure_start
from .workers import Workers

__all__ = ["run_gpu", "run_starts", "run_steps", "run_trainings"]

_GPU = "fastopt-cuda"


def run_steps(results: Results, cases: Sequence[StepCase], names: Sequence[str], effort: Effort) -> Results:
    """Measure every case with the contenders that run it, the roof first, and fill the results."""
    return _run(results, cases, ["roof", *names], effort, measure_step)


def run_trainings(results: Results, cases: Sequence[TrainCase], names: Sequence[str], effort: Effort) -> Results:
    """Measure every case with all contenders, and fill the results."""
    return _run(results, cases, names, effort, measure_training)


def run_starts(results: Results, cases: Sequence[StartCase], repeats: int) -> Results:
    """Measure every case whose backend is there in so many processes, and fill the results."""
    reasons = {case.contender: why_missing(case.backend) for case in cases if case.backend}
    results.missing = {name: reason for name, reason in reasons.items() if reason}
    with _progress(len(cases)) as show:
        for case in cases:
            if case.contender not in results.missing:
                show(_short(case))
                results.rows.append(measure_start(case, repeats))
            show(None)
    return results


def run_gpu(results: Results, cases: Sequence[GpuCase], peers: Sequence[str], effort: Effort, budget: float) -> Results:
    """Measure the cases that the device's memory holds and that begin within so many seconds; fill the results."""

    def measure(*arguments: Any) -> list[Row]:
        gpu = results.machine["gpu"]
        return measure_gpu(*arguments, free=gpu["free_bytes"], cache=gpu["l2_bytes"])

    return _run(results, cases, ["device", "cuda-roof", _GPU, *peers], effort, measure, budget)


def _run(
    results: Results,
    cases: Sequence[Any],
    names: Sequence[str],
    effort: Effort,
    measure: Callable[..., list[Row]],
    budget: float = math.inf,
) -> Results:
    until = time.monotonic() + budget
    with Workers(names, results.machine["threads"]) as workers, _progress(len(names) + len(cases)) as show:
        _connect(workers, names, show)
        results.missing = dict(workers.missing)
        if _GPU in names:
            _describe_gpu(results, workers)
        for number, case in enumerate(cases):
            if time.monotonic() >= until:
                results.rows += [left_out(rest, f"{budget:g} seconds had passed") for rest in cases[number:]]
                break
            present = [name for name in workers.present if CONTENDERS[name].runs(case)]
            try:
                results.rows += measure(workers, case, present, effort, partial(_show, show, case))
            except KeyboardInterrupt:  # the rows that were measured are kept
                if not results.rows:
                    raise
                results.rows += [left_out(rest, "interrupted") for rest in cases[number:]]
                break
            show(None)
    return results


def _describe_gpu(results: Results, workers: Workers) -> None:
    """Add the facts about the GPU to the machine; raise ImportError where it cannot be used."""
    if _GPU in workers.missing:
        raise ImportError(workers.missing[_GPU])
    gpu = workers.facts(_GPU)
    results.machine = {**results.machine, "gpu": gpu if gpu["simulated"] else {**gpu, **driver_facts()}}


def _connect(workers: Workers, names: Sequence[str], show: Callable[[str | None], None]) -> None:
    for name in names:
        show(f"starting {name}")
        workers.connect(name)
        show(None)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str | None], None]]:
    """Show a bar on a terminal after two seconds; called with None it advances by one, else it shows the text."""
    from tqdm import tqdm

    with tqdm(total=total, unit="case", dynamic_ncols=True, delay=2.0, leave=False, disable=None) as bar:

        def show(text: str | None) -> None:
            if text is None:
                bar.update()
            else:
                bar.set_postfix_str(text)

        yield show


def _show(show: Callable[[str | None], None], case: StepCase | GpuCase | TrainCase, name: str) -> None:
    show(f"{_short(case)} {name}")


def _short(case: StepCase | GpuCase | TrainCase | StartCase) -> str:
    if isinstance(case, (StepCase, GpuCase)):
        return f"{case.kind} {case.rule} {case.size:,}"
    if isinstance(case, StartCase):
        return f"{case.kind} {case.contender} {case.cache}"
    return f"{case.name} batch {case.batch}"
