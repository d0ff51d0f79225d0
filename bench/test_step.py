"""Optimizer steps under pytest-benchmark: the cases and contenders of `fastopt bench step`."""

import pytest

from fastopt.backends import available_cores
from fastopt.bench.cases import StepCase, start_buffers
from fastopt.bench.contenders import make_stepper
from fastopt.bench.validation import STEP_TOLERANCE, step_error


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("kind", ["step", "clip"])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_step(benchmark, contender, rule, kind, size):
    case = StepCase(rule, "float32", size, available_cores(), kind)
    make = make_stepper(contender)
    benchmark(make(case, *start_buffers(case)).step)
    if contender.role == "own":
        assert step_error(case, make) <= STEP_TOLERANCE[case.dtype]
