"""The process that a contender runs in: ``python -m fastopt.bench.worker CONTENDER``, which is JSON.

It takes requests as lines of JSON on standard input and answers each with one on standard output. Output of
libraries goes to standard error. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TextIO

import numpy as np

from ..backends import why_missing
from .cases import (
    GpuCase,
    StepCase,
    TrainCase,
    case_from_dict,
    start_buffers,
    start_weights,
    timed_together,
    training_data,
)
from .contenders import Contender, make_stepper, make_trainer
from .contenders import why_missing as why_unusable
from .contenders.base import Stepper, Trainer
from .gpu.steps import GpuSteps
from .machine import peak_memory, reset_peak_memory
from .timing import calibrate, time_in_turns
from .validation import check_steps, mean_loss, step_error

__all__ = ["Steps", "Trainings", "main", "serve"]

_DENORMAL = {"float32": 1e-41, "float64": 1e-310}
"""Numbers below the smallest that has all its digits."""

_MANY_STEPS, _LONG = 400, 3.0
"""Steps that are timed one by one, unless they take longer than so many seconds."""


class Steps:
    """Answers requests about step cases."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._steppers: list[Stepper] = []

    def start(self, case: StepCase, *, threads: int) -> dict[str, Any]:
        """Make the optimizer, or two that are timed together; return about how many seconds a step of each takes."""
        self._steppers = []  # before the next ones take their memory
        self._steppers = [self._make(one) for one in timed_together(case, threads)]
        return {"seconds_per_call": [calibrate(stepper.run) for stepper in self._steppers]}

    def round(self, case: StepCase, *, plans: list[tuple[int, int]]) -> dict[str, Any]:
        """Return the seconds a step of each sample, for each optimizer that was made."""
        return {"seconds": time_in_turns([stepper.run for stepper in self._steppers], plans)}

    def check(self, case: StepCase) -> dict[str, Any]:
        """Return how far the result is from float64's."""
        self._steppers = []
        return {"error": step_error(case, make_stepper(self._contender))}

    def stop(self, case: StepCase) -> dict[str, Any]:
        """Release the memory."""
        self._steppers = []
        return {}

    def _make(self, case: StepCase) -> Stepper:
        stepper = make_stepper(self._contender)(case, *start_buffers(case))
        if case.kind == "denormal":
            stepper.run(2)
            stepper.load_gradient(np.zeros(case.size, case.dtype))
            stepper.fill_state(_DENORMAL[case.dtype])
        return stepper


class Trainings:
    """Answers requests about training cases."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._trainer: Trainer | None = None

    def start(self, case: TrainCase) -> dict[str, Any]:
        """Make the network."""
        self._trainer = None
        reset_peak_memory()
        self._trainer = make_trainer(self._contender)(case, start_weights(case.sizes), *training_data(case))
        return {}

    def round(self, case: TrainCase, *, epochs: int) -> dict[str, Any]:
        """Return how long so many epochs took, after one that is not timed and warms the caches."""
        assert self._trainer is not None
        self._trainer.run(1)
        start = time.perf_counter()
        self._trainer.run(epochs)
        return {"seconds": time.perf_counter() - start}

    def check(self, case: TrainCase) -> dict[str, Any]:
        """Return the times of single steps, the memory, and the loss some steps after the start."""
        assert self._trainer is not None
        steps, memory = _step_seconds(self._trainer), peak_memory()
        self._trainer = None
        x, y = training_data(case)
        rows = check_steps(case) * case.batch
        trainer = make_trainer(self._contender)(case, start_weights(case.sizes), x[:rows], y[:rows])
        trainer.run(1)
        return {"step_seconds": steps, "peak_bytes": memory, "loss": mean_loss(trainer.weights(), x, y)}

    def stop(self, case: TrainCase) -> dict[str, Any]:
        """Release the memory."""
        self._trainer = None
        return {}


def _step_seconds(trainer: Trainer) -> list[float] | None:
    """Return the times of single steps: of as many epochs as give the 99th percentile something to be taken from."""
    trainer.run(1)
    start = time.perf_counter()
    steps = trainer.step_seconds()
    while steps and len(steps) < _MANY_STEPS and time.perf_counter() - start < _LONG:
        steps += trainer.step_seconds() or []
    return steps


def serve(contender: Contender, requests: TextIO, answer: Callable[[Mapping[str, Any]], None]) -> None:
    """Answer requests until there are no more. An error is an answer too."""
    suites = {StepCase: Steps(contender), TrainCase: Trainings(contender), GpuCase: GpuSteps(contender)}
    for line in requests:
        request = json.loads(line)
        try:
            answer(_answer(contender, suites, request))
        except Exception as error:  # another library's: it must not end the benchmark of all the others
            plain = contender.role == "own" and isinstance(error, ValueError)  # our own refusals are whole sentences
            answer({"failed": str(error) if plain else f"{type(error).__name__}: {error}"})


def _answer(contender: Contender, suites: Mapping[type, Any], request: dict[str, Any]) -> Mapping[str, Any]:
    if request["do"] == "hello":
        return _hello(contender)
    if request["do"] == "facts":
        return _facts()
    case = case_from_dict(request.pop("case"))
    answer: dict[str, Any] = getattr(suites[type(case)], request.pop("do"))(case, **request)
    return answer


def _hello(contender: Contender) -> dict[str, Any]:
    for package in contender.needs:
        try:
            import_module(package)
        except ImportError as error:
            return {"missing": str(error)}
    if "OMP_NUM_THREADS" in os.environ:
        _limit_pools(int(os.environ["OMP_NUM_THREADS"]))
    backend = contender.options.get("backend") or ("cuda" if "numba_cuda" in contender.needs else None)
    reason = (why_missing(backend) if backend else None) or why_unusable(contender)
    return {} if reason is None else {"missing": reason}


def _facts() -> dict[str, Any]:
    """Return the facts about the GPU."""
    from ..backends.cuda.facts import device_facts

    return device_facts()


def main(contender: Contender) -> None:
    """Serve the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    _pin(int(os.environ["OMP_NUM_THREADS"]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(values: Mapping[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    serve(contender, sys.stdin, answer)


def _pin(threads: int) -> None:
    """Keep to as many processors as there are threads: every library then sizes its pools by that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _limit_pools(threads: int) -> None:
    """Limit the pools that are loaded, where neither their processors nor the environment did so (macOS)."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(threads)


if __name__ == "__main__":
    main(Contender(**json.loads(sys.argv[1])))
