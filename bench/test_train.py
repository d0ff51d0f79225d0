"""Training under pytest-benchmark: the cases and contenders of `fastopt bench train`."""

import pytest

from fastopt.backends import available_cores
from fastopt.bench.cases import TrainCase, start_weights, training_data
from fastopt.bench.contenders import make_trainer


@pytest.mark.parametrize("batch", [1, 32, 1024])
def test_epoch(benchmark, contender, batch):
    if not contender.trains:
        pytest.skip("the roof does not train")
    case = TrainCase((784, 128, 10), batch, rows=1024 if batch == 1 else 8192, threads=available_cores())
    trainer = make_trainer(contender)(case, start_weights(case.sizes), *training_data(case))
    benchmark(trainer.run, 1)
