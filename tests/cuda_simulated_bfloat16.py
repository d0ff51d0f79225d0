"""Parameters and gradients of bfloat16 in the simulator; `simulated.py` runs this.

A step has to be the float32 rule's on widened values, with the new parameters rounded: bit for bit.
"""

import numpy as np
import pytest
from bfloat16 import critical, rounded, widened
from conftest import HYPER, bits, draw, needs
from cuda_simulation import SIZES, DeviceArray, _small_blocks, exact, hyper_of  # noqa: F401 - fixtures
from test_errors import contains

from fastopt import RULES, Layout, Optimizer
from fastopt._bfloat16 import BFLOAT16
from fastopt.backends import get_backend
from fastopt.backends.cuda import launch, simulation


class Bfloat16Array(DeviceArray):
    """An array whose interface has two bytes of nothing for the elements, as there is no word for bfloat16."""

    dtype = "bfloat16"

    def __init__(self, values, offset=0, **interface):
        super().__init__(rounded(values), offset, typestr="<V2", **interface)


def contents(optimizer):
    states = [buffer.copy_to_host() for buffer in optimizer.state.values()]
    return bits(optimizer.parameters.values, *states)


def expected(name, size, steps=3, grad_scale=0.75, **options):
    """Return what the CPU's float32 gives when the parameters are rounded behind each step."""
    p = widened(rounded(draw(0, size)))
    optimizer = Optimizer(p, name, backend="numba", **options)
    for t in range(1, steps + 1):
        optimizer.step(widened(rounded(draw(t, size))), grad_scale=grad_scale)
        halves = rounded(p)
        p[:] = widened(halves)
    return bits(halves, *optimizer.state.values())


def simulated(name, size, steps=3, grad_scale=0.75, offset=0, gradient_offset=0, **options):
    optimizer = Optimizer(Bfloat16Array(draw(0, size), offset), name, backend="cuda", **options)
    for t in range(1, steps + 1):
        optimizer.step(Bfloat16Array(draw(t, size), gradient_offset), grad_scale=grad_scale)
    return contents(optimizer)


@needs("numba")
@pytest.mark.parametrize("name", RULES)
def test_a_step_is_the_float32_rule_s_on_widened_values_rounded(name, exact):  # noqa: F811
    for limits in ({}, {"clip_value": 0.9, "max_norm": 4.0}):
        options = {**limits, **hyper_of(name)}
        assert simulated(name, 37, **options) == expected(name, 37, **options)


@needs("numba")
@pytest.mark.parametrize(("offset", "gradient_offset"), [(0, 0), (1, 1), (4, 0), (3, 5)])
@pytest.mark.parametrize("size", [size for size in SIZES if size])
def test_position_in_memory_changes_no_bit(size, offset, gradient_offset, exact):  # noqa: F811
    positions = {"offset": offset, "gradient_offset": gradient_offset}
    assert simulated("adam", size, **positions) == expected("adam", size)


def test_states_are_float32_and_coefficients_too():
    optimizer = Optimizer(Bfloat16Array(draw(0, 9)), "adam", backend="cuda")
    assert {state.dtype for state in optimizer.state.values()} == {np.dtype("float32")}
    assert get_backend("cuda").compute_dtype(BFLOAT16) == np.dtype("float32")
    assert "bfloat16" in repr(optimizer)


def test_vectors_are_of_four_elements_in_all_buffers():
    device = get_backend("cuda").device
    p, g = (device.wrap(Bfloat16Array(draw(0, 37), offset)) for offset in (4, 4))
    state = device.zeros(37, np.dtype("float32"))
    assert launch.elements_before_vectors((p, g, state), 4) == -state.address % 16 // 4
    shifted = device.wrap(Bfloat16Array(draw(0, 37), 1))
    assert launch.elements_before_vectors((shifted, shifted), 4) == 3


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("size", SIZES)
def test_zero_grad_clears_the_gradient_and_nothing_else(size, offset):
    g = Bfloat16Array(draw(1, size + 8), offset)
    inner = Bfloat16Array(draw(2, size))
    inner.values = g.values[4 : 4 + size]
    Optimizer(Bfloat16Array(draw(0, size)), "adam", backend="cuda", zero_grad=True).step(inner)
    assert not inner.values.any()
    assert g.values[:4].all()
    assert g.values[4 + size :].all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_skip_nonfinite_sees_what_is_not_finite(value):
    optimizer = Optimizer(Bfloat16Array(draw(0, 9)), "adam", backend="cuda", skip_nonfinite=True)
    before = contents(optimizer)
    gradient = draw(1, 9)
    gradient[4] = value
    optimizer.step(Bfloat16Array(gradient))
    assert (optimizer.steps, optimizer.skipped) == (0, 1)
    assert contents(optimizer) == before


@needs("numba")
def test_groups_agree_with_the_cpu(exact):  # noqa: F811
    layout = Layout({"w": (5, 3), "b": (3,), "v": (7,)}, groups={"b": "bias"})
    options = {"layout": layout, "groups": {"bias": {"weight_decay": 0.0}}, "max_segment_norm": 1.0, **HYPER["adamw"]}
    assert simulated("adamw", layout.size, **options) == expected("adamw", layout.size, **options)


def test_a_float32_optimizer_s_state_on_the_host_is_loaded_and_continues():
    host = Optimizer(widened(rounded(draw(0, 9))), "adam", backend="reference")
    host.step(draw(1, 9))
    device = Optimizer(Bfloat16Array(host.parameters), "adam", backend="cuda")
    device.load_state_dict(host.state_dict())
    assert device.steps == 1
    for name, state in device.state.items():
        assert bits(state.copy_to_host()) == bits(host.state[name])
    wrong = device.state_dict() | {"state": {name: np.zeros(9) for name in device.state}}
    with pytest.raises(ValueError, match=contains("state float64 expected float32")):
        device.load_state_dict(wrong)


def test_states_are_read_as_float32():
    optimizer = Optimizer(Bfloat16Array(draw(0, 9)), "adam", backend="cuda")
    optimizer.step(Bfloat16Array(draw(1, 9)))
    read = optimizer.read_state()
    assert {name: bits(values) for name, values in read.items()} == {
        name: bits(state.copy_to_host()) for name, state in optimizer.state.items()
    }


def test_gradients_of_another_dtype_are_refused():
    optimizer = Optimizer(Bfloat16Array(draw(0, 9)), "sgd", backend="cuda")
    with pytest.raises(TypeError, match=contains("gradients float32 expected bfloat16")):
        optimizer.step(DeviceArray(draw(1, 9)))
    optimizer = Optimizer(DeviceArray(draw(0, 9)), "sgd", backend="cuda")
    with pytest.raises(TypeError, match=contains("gradients bfloat16 expected float32")):
        optimizer.step(Bfloat16Array(draw(1, 9)))


def test_the_simulator_rounds_as_bfloat16_is_defined():
    values = critical()[:: 7 * 6 + 1]
    assert bits(np.array([simulation._rounded(value) for value in values])) == bits(rounded(values))
