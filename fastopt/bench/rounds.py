"""Measuring: the contenders of a case take turns, A B C A B C …, so that their ratios hold while the machine drifts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..runs.settings import find_rule
from .cases import GpuCase, StepCase, TrainCase, bytes_moved, timed_together
from .contenders import CONTENDERS
from .gpu.plan import bytes_of, fits_together, why_too_large
from .machine import available_memory
from .rows import Row
from .timing import plan_round, summarise
from .validation import LOSS_TOLERANCE, step_tolerance, train_reference
from .workers import Failure, Workers

__all__ = ["Effort", "left_out", "measure_gpu", "measure_step", "measure_training"]

_MEMORY_FACTOR = 1.6
"""Memory of a contender, as a multiple of its buffers: temporaries, and copies while it starts."""

Show = Callable[[str], None]
Plans = list[tuple[int, int]]
Round = TypeVar("Round")


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    seconds
        For each contender of a case; more where the rounds take longer.
    rounds
        The least number of rounds that count.
    most_rounds
        The greatest.
    """

    seconds: float = 0.5
    rounds: int = 7
    most_rounds: int = 15


class _Turns:
    """The contenders of one case. One that fails takes no further turns."""

    def __init__(
        self, workers: Workers, case: StepCase | GpuCase | TrainCase, names: Sequence[str], show: Show, **at_start: Any
    ) -> None:
        self._workers = workers
        self._at_start = at_start
        self._case = case.as_dict()
        self._show = show
        self.names = list(names)
        self.failures: dict[str, str] = {}

    def ask(self, name: str, do: str, **values: Any) -> dict[str, Any] | None:
        """Return the answer; None where the contender failed."""
        self._show(name)
        try:
            return self._workers.ask(name, do, self._case, **values)
        except Failure as error:
            self.failures[name] = str(error)
            self.names.remove(name)
            return None

    def ask_all(self, do: str, names: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the answers of the contenders that are left, or of those with these names."""
        answers = {name: self.ask(name, do) for name in (list(self.names) if names is None else names)}
        return {name: answer for name, answer in answers.items() if answer is not None}

    def rounds(self, effort: Effort, once: Callable[[str], Round | None]) -> dict[str, list[Round]]:
        """Return the findings of each round by contender. All take part in every round; the first does not count."""
        taken: dict[str, list[Round]] = {name: [] for name in self.names}
        start = time.monotonic()
        count = 0
        while self.names and count <= effort.most_rounds:
            late = time.monotonic() - start > effort.seconds * len(self.names)
            if late and count > effort.rounds:
                break
            for name in list(self.names):
                found = once(name)
                if found is not None:
                    taken[name].append(found)
            count += 1
        return {name: taken[name] for name in self.names}


def measure_step(workers: Workers, case: StepCase, names: Sequence[str], effort: Effort, show: Show) -> list[Row]:
    """Return a row for each contender."""
    all_fit, one_fits = _fits(case, len(names), workers.threads)
    if not one_fits:
        return [_failed(case, name, "not enough memory here") for name in names]
    turns = _StepTurns(workers, case, names, show)
    taken = turns.take(effort, together=all_fit)
    errors = turns.ask_all("check", [name for name in turns.names if CONTENDERS[name].role != "roof"])
    turns.ask_all("stop")
    moved = bytes_moved(case, find_rule(case.rule))
    return _rows(case, names, turns, lambda name: _step_row(case, name, taken[name], errors.get(name), moved))


def measure_gpu(
    workers: Workers, case: GpuCase, names: Sequence[str], effort: Effort, show: Show, *, free: int, cache: int
) -> list[Row]:
    """Return a row for each contender, or one that says why the device's memory does not hold the case."""
    reason = why_too_large(case, free, cache)
    if reason is not None:
        return [left_out(case, reason)]
    turns = _StepTurns(workers, case, names, show, cache=cache)
    taken = turns.take(effort, together=fits_together(case, len(names), free, cache))
    checks = turns.ask_all("check")
    turns.ask_all("stop")
    return _rows(case, names, turns, lambda name: _step_row(case, name, taken[name], checks[name], bytes_of(case)))


def left_out(case: StepCase | GpuCase | TrainCase, why: str) -> Row:
    """Return the row of a case that was not run."""
    return Row(_public(case), "all", "own", "left out", why)


class _StepTurns(_Turns):
    """Turns of optimizers. Where the memory does not hold all of them, each is made again in each of its rounds.

    Cases that are timed together share their contender's turn.
    """

    def take(self, effort: Effort, *, together: bool) -> dict[str, list[list[list[float]]]]:
        """Return the samples of each round, of the case itself and of the cases timed together with it."""
        if not together:
            return self.rounds(effort, lambda name: self._round(name, self._start(name, effort), stop=True))
        plans = {name: self._start(name, effort) for name in list(self.names)}
        taken = self.rounds(effort, lambda name: self._round(name, plans[name]))
        self.ask_all("stop")
        return taken

    def _start(self, name: str, effort: Effort) -> Plans | None:
        """Return calls a sample and samples a round, of each that is timed."""
        answer = self.ask(name, "start", threads=self._workers.threads, **self._at_start)
        if answer is None:
            return None
        return [plan_round(seconds, effort.seconds / effort.rounds) for seconds in answer["seconds_per_call"]]

    def _round(self, name: str, plans: Plans | None, *, stop: bool = False) -> list[list[float]] | None:
        if plans is None:
            return None
        answer = self.ask(name, "round", plans=plans)
        if stop and answer is not None:
            self.ask(name, "stop")
        return None if answer is None else answer["seconds"]


def measure_training(workers: Workers, case: TrainCase, names: Sequence[str], effort: Effort, show: Show) -> list[Row]:
    """Return a row for each contender. Round k is the same stretch of the same training for all of them."""
    losses = train_reference(case)
    turns = _Turns(workers, case, names, show)
    turns.ask_all("start")

    def once(name: str) -> list[float] | None:
        answer = turns.ask(name, "round", epochs=case.epochs)
        return None if answer is None else [answer["seconds"]]

    taken = turns.rounds(effort, once)
    found = turns.ask_all("check")
    turns.ask_all("stop")
    return _rows(case, names, turns, lambda name: _train_row(case, name, taken[name], found[name], losses))


def _rows(
    case: StepCase | GpuCase | TrainCase, names: Sequence[str], turns: _Turns, measured: Callable[[str], Row]
) -> list[Row]:
    """Return a row for each name: of its figures, or of the reason why there are none."""
    failures = turns.failures
    return [_failed(case, name, failures[name]) if name in failures else measured(name) for name in names]


def _fits(case: StepCase, contenders: int, threads: int) -> tuple[bool, bool]:
    """Return whether the buffers of all contenders fit into memory at once, and whether those of one do."""
    numbers = (2 + len(find_rule(case.rule).states)) * case.size * len(timed_together(case, threads))
    one = _MEMORY_FACTOR * np.dtype(case.dtype).itemsize * numbers
    free = 0.8 * available_memory()
    return one * contenders <= free, 2 * one <= free


def _failed(case: StepCase | GpuCase | TrainCase, name: str, why: str) -> Row:
    return Row(_public(case), name, CONTENDERS[name].role, "failed", why)


def _step_row(
    case: StepCase | GpuCase,
    name: str,
    taken: list[list[list[float]]],
    check: Mapping[str, Any] | None,
    moved: int,
) -> Row:
    seconds, *ordinary = (summarise(rounds).as_dict() for rounds in zip(*taken, strict=True))
    figures: dict[str, Any] = {"bytes": moved}
    if ordinary:
        figures["ordinary"] = ordinary[0]
    status, note = "ok", ""
    if check is not None:
        figures |= check.get("figures", {})
        figures["error"] = _number(check["error"])
        limit = step_tolerance(case)
        if not check["error"] <= limit:
            status, note = "wrong", f"differs from float64 by {check['error']:.2g} of the change, more than {limit:g}"
    role = CONTENDERS[name].role
    return Row(_public(case), name, role, status, note, seconds, figures)


def _train_row(
    case: TrainCase,
    name: str,
    taken: list[list[float]],
    found: Mapping[str, Any],
    losses: tuple[float, float],
) -> Row:
    before, reference = losses
    figures: dict[str, Any] = {
        "samples": case.rows * case.epochs,
        "loss": _number(found["loss"]),
        "reference_loss": reference,
        "peak_bytes": found["peak_bytes"],
    }
    if found["step_seconds"]:
        p50, p99 = np.percentile(found["step_seconds"], (50, 99))
        figures |= {"step_p50": float(p50), "step_p99": float(p99)}
    error = abs(found["loss"] - reference) / abs(before - reference)
    figures["loss_error"] = _number(error)
    status, note = "ok", ""
    if not error <= LOSS_TOLERANCE:
        status, note = "wrong", f"loss {found['loss']:.5f} where float64 has {reference:.5f}, from {before:.5f}"
    role = CONTENDERS[name].role
    return Row(_public(case), name, role, status, note, summarise(taken).as_dict(), figures)


def _public(case: StepCase | GpuCase | TrainCase) -> dict[str, Any]:
    """Return the fields of a case, a rule's file without its folder."""
    values = case.as_dict()
    return {**values, "rule": Path(values["rule"]).name} if "rule" in values else values


def _number(value: float) -> float | None:
    """Return the number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None
