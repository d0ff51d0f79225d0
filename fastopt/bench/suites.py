"""The benchmarks from beginning to end: who takes part, the cases one by one, the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..backends import why_missing
from .cases import StepCase, TrainCase
from .contenders import CONTENDERS
from .crew import Crew
from .results import Results
from .rounds import Effort, measure_step, measure_training
from .rows import Row
from .starts import StartCase, measure_start

__all__ = ["run_starts", "run_steps", "run_trainings"]


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


def _run(
    results: Results, cases: Sequence[Any], names: Sequence[str], effort: Effort, measure: Callable[..., list[Row]]
) -> Results:
    with Crew(names, results.machine["threads"]) as crew, _progress(len(names) + len(cases)) as told:
        for name in names:
            told(f"starting {name}")
            crew.greet(name)
            told(None)
        results.missing = dict(crew.missing)
        for case in cases:
            present = [name for name in crew.present if CONTENDERS[name].runs(case)]
            results.rows += measure(crew, case, present, effort, lambda name, case=case: told(f"{_short(case)} {name}"))
            told(None)
    return results


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


def _short(case: StepCase | TrainCase | StartCase) -> str:
    if isinstance(case, StepCase):
        return f"{case.kind} {case.rule} {case.size:,}"
    if isinstance(case, StartCase):
        return f"{case.kind} {case.contender} {case.cache}"
    return f"{case.name} batch {case.batch}"
