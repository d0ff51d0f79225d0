"""The benchmarks from beginning to end: who takes part, the cases one by one, the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..backends import why_missing
from .cases import GpuCase, StepCase, TrainCase
from .contenders import CONTENDERS
from .crew import Crew
from .machine import driver_facts
from .results import Results
from .rounds import Effort, left_out, measure_gpu, measure_step, measure_training
from .rows import Row
from .starts import StartCase, measure_start

__all__ = ["GPU_CONTENDERS", "run_gpu", "run_starts", "run_steps", "run_trainings"]

_GPU = "fastopt-cuda"

GPU_CONTENDERS = ("device", "cuda-roof", _GPU)
"""Who takes part in every benchmark of a GPU."""


def run_steps(results: Results, cases: Sequence[StepCase], names: Sequence[str], effort: Effort) -> Results:
    """Measure every case with those contenders that it is one for, the roof first, and fill the results."""
    return _run(results, cases, ["roof", *names], effort, measure_step)


def run_trainings(results: Results, cases: Sequence[TrainCase], names: Sequence[str], effort: Effort) -> Results:
    """Measure every case with all contenders, and fill the results."""
    return _run(results, cases, names, effort, measure_training)


def run_starts(results: Results, cases: Sequence[StartCase], repeats: int) -> Results:
    """Measure every case whose backend is there in so many processes, and fill the results."""
    reasons = {case.contender: why_missing(case.backend) for case in cases if case.backend}
    results.missing = {name: reason for name, reason in reasons.items() if reason}
    with _progress(len(cases)) as told:
        for case in cases:
            if case.contender not in results.missing:
                told(_short(case))
                results.rows.append(measure_start(case, repeats))
            told(None)
    return results


def run_gpu(results: Results, cases: Sequence[GpuCase], peers: Sequence[str], effort: Effort, budget: float) -> Results:
    """Measure those cases that the device's memory holds and that begin within so many seconds; fill the results."""
    names = [*GPU_CONTENDERS, *peers]
    until = time.monotonic() + budget
    with Crew(names, results.machine["threads"]) as crew, _progress(len(names) + len(cases)) as told:
        _greet(crew, names, told)
        if _GPU in crew.missing:
            raise ImportError(crew.missing[_GPU])
        results.missing = dict(crew.missing)
        gpu = _describe_gpu(results, crew)
        measure = partial(measure_gpu, free=gpu["free_bytes"], cache=gpu["l2_bytes"])
        for number, case in enumerate(cases):
            if time.monotonic() >= until:
                results.rows += [left_out(rest, f"{budget:g} seconds had passed") for rest in cases[number:]]
                break
            try:
                results.rows += _measure(crew, case, effort, measure, told)
            except KeyboardInterrupt:  # time on a GPU is dear: what was measured is kept
                results.rows += [left_out(rest, "interrupted") for rest in cases[number:]]
                break
            told(None)
    return results


def _run(
    results: Results, cases: Sequence[Any], names: Sequence[str], effort: Effort, measure: Callable[..., list[Row]]
) -> Results:
    with Crew(names, results.machine["threads"]) as crew, _progress(len(names) + len(cases)) as told:
        _greet(crew, names, told)
        results.missing = dict(crew.missing)
        if _GPU in crew.present:
            _describe_gpu(results, crew)
        for number, case in enumerate(cases):
            try:
                results.rows += _measure(crew, case, effort, measure, told)
            except KeyboardInterrupt:
                if not results.rows:
                    raise
                results.rows += [left_out(rest, "interrupted") for rest in cases[number:]]
                break
            told(None)
    return results


def _describe_gpu(results: Results, crew: Crew) -> dict[str, Any]:
    """Add what is known of the GPU to the machine, and return it."""
    gpu = crew.facts(_GPU)
    results.machine = {**results.machine, "gpu": gpu if gpu["simulated"] else {**gpu, **driver_facts()}}
    return gpu


def _greet(crew: Crew, names: Sequence[str], told: Callable[[str | None], None]) -> None:
    for name in names:
        told(f"starting {name}")
        crew.greet(name)
        told(None)


def _measure(
    crew: Crew,
    case: StepCase | GpuCase | TrainCase,
    effort: Effort,
    measure: Callable[..., list[Row]],
    told: Callable[[str | None], None],
) -> list[Row]:
    present = [name for name in crew.present if CONTENDERS[name].runs(case)]
    return measure(crew, case, present, effort, lambda name: told(f"{_short(case)} {name}"))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str | None], None]]:
    """Show a bar on a terminal when it takes more than two seconds; told None, it goes on by one."""
    from tqdm import tqdm

    with tqdm(total=total, unit="case", dynamic_ncols=True, delay=2.0, leave=False, disable=None) as bar:

        def told(what: str | None) -> None:
            if what is None:
                bar.update()
            else:
                bar.set_postfix_str(what)

        yield told


def _short(case: StepCase | GpuCase | TrainCase | StartCase) -> str:
    if isinstance(case, (StepCase, GpuCase)):
        return f"{case.kind} {case.rule} {case.size:,}"
    if isinstance(case, StartCase):
        return f"{case.kind} {case.contender} {case.cache}"
    return f"{case.name} batch {case.batch}"
