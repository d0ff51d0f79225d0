"""What the benchmark runs on a GPU, in the simulator; `simulated.py` runs this."""

import numpy as np
import pytest
from cuda_simulation import _small_blocks  # noqa: F401 - a fixture

from fastopt.bench.cases import GpuCase, start_block
from fastopt.bench.contenders import cuda
from fastopt.bench.contenders.cuda import buffer_of
from fastopt.bench.contenders.cuda_memory import Stepper
from fastopt.bench.validation import movement_error


@pytest.mark.parametrize("name", ["memcpy", "copy", "triad"])
def test_movements_move_all_of_a_buffer(name):
    case = GpuCase(name, "float32", 68, "memory")
    rounding = 1e-7 if name == "triad" else 0.0
    assert movement_error(case, Stepper(case, *start_block("float32", 68))) <= rounding


def test_a_size_that_is_no_multiple_of_a_vector_is_refused():
    case = GpuCase("copy", "float32", 10, "memory")
    with pytest.raises(ValueError, match="got 10, expected a multiple of 4"):
        Stepper(case, *start_block("float32", 10))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 17])
def test_a_block_is_repeated_to_the_end_of_a_buffer(size):
    block = np.arange(1, 5, dtype=np.float32)
    assert buffer_of(GpuCase("sgd", "float32", size), block).copy_to_host().tolist() == np.resize(block, size).tolist()


@pytest.mark.parametrize("rule", ["adam", "prodigy", "schedule_free_adamw"])
def test_a_contender_that_is_reset_takes_its_first_steps_once_more(rule):
    stepper = cuda.Stepper(GpuCase(rule, "float32", 37), *start_block("float32", 8))

    def result():
        stepper.step()
        stepper.step()
        optimizer = stepper._optimizer
        return [buffer.copy_to_host().tolist() for buffer in (stepper._p, *optimizer.state.values())]

    first = result()
    stepper.reset()
    assert result() == first
