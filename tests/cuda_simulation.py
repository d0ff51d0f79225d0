"""The CUDA kernels as Python functions, in numba-cuda's simulator; `test_cuda.py` runs this in a process of its own.

"Device" memory is the host's here. What is shown: which elements a kernel reads and writes, whatever lies before and
behind; that the optimizer drives it as it drives the others; and, with a multiply-add that is rounded once put in the
simulator's place, that the operations and their order are those of the CPU's backends, bit for bit.
"""

import sys
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from conftest import DTYPES, HYPER, bits, draw, needs
from test_errors import contains
from test_rules import FEATURES, TOLERANCE

from fastopt import RULES, Layout, Optimizer
from fastopt.backends import get_backend
from fastopt.backends.cuda import launch
from fastopt.backends.cuda.backend import CudaBackend
from fastopt.backends.cuda.rule import ELEMENTS
from fastopt.backends.cuda.streams import stream_pointer
from fastopt.rules import vocabulary

SIZES = (0, 1, 3, 7, 37)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each of a block's threads is a thread of Python."""
    monkeypatch.setattr(launch, "BLOCK", 8)


def fma_rounded_once(a, b, c):
    """Return a·b + c as the hardware does; takes the place of the vocabulary's code, and so sees none of our names."""
    from fractions import Fraction

    import numpy as np

    kind = next(x.dtype.type for x in (c, b, a) if isinstance(x, np.generic))
    a, b, c = kind(a), kind(b), kind(c)
    if not np.isfinite([a, b, c]).all():
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c
    nearest = float(exact)
    if kind is np.float64 or nearest == exact:
        return kind(nearest)
    # round to odd: a second rounding is then as good as one
    below, above = (
        (nearest, np.nextafter(nearest, np.inf)) if nearest < exact else (np.nextafter(nearest, -np.inf), nearest)
    )
    return kind(below if np.float64(below).view(np.uint64) & np.uint64(1) else above)


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(vocabulary.fma, "__code__", fma_rounded_once.__code__)


class DeviceArray:
    """What another library's array on the GPU looks like, `offset` elements behind a boundary of 16 bytes."""

    def __init__(self, values, offset=0, **interface):
        items = 16 // values.itemsize
        memory = np.zeros(values.size + 2 * items, values.dtype)
        start = -memory.ctypes.data % 16 // values.itemsize + offset
        self.values = memory[start : start + values.size]
        self.values[:] = values
        self._changes = interface

    @property
    def __cuda_array_interface__(self):
        host = self.values.__array_interface__
        return {key: host[key] for key in ("data", "typestr", "shape", "strides", "version")} | self._changes

    @property
    def shape(self):
        return self.values.shape


def contents(optimizer):
    """Return copies of parameters and states, by name."""
    states = {name: buffer.copy_to_host() for name, buffer in optimizer.state.items()}
    return {"parameters": optimizer.parameters.values.copy()} | states


def step_and_compare(optimizer, g, grad_scale=1.0):
    before, hyper = contents(optimizer), optimizer.hyper
    weight_decay = hyper.pop("weight_decay")
    states = {name: before[name].astype("float64") for name in optimizer.state}
    around = {name: getattr(optimizer, name) for name in ("maximize", "clip_value", "max_norm")}
    p = oracle.step(
        optimizer.rule.name, before["parameters"], g, states, optimizer.steps + 1, hyper,
        weight_decay=weight_decay, grad_scale=grad_scale, **around,
    )  # fmt: skip
    optimizer.step(DeviceArray(g), grad_scale=grad_scale)
    tolerance = TOLERANCE * np.finfo(g.dtype).eps
    for name, expected in {"parameters": p, **states}.items():
        np.testing.assert_allclose(contents(optimizer)[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_three_steps_agree_with_the_oracle(name, dtype):
    optimizer = Optimizer(DeviceArray(draw(0, 37, dtype)), name, backend="cuda", **HYPER[name])
    for t in range(1, 4):
        step_and_compare(optimizer, draw(t, 37, dtype))


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("feature", FEATURES)
def test_features_around_a_rule_agree_with_the_oracle(feature, name):
    options = dict(FEATURES[feature])
    grad_scale = options.pop("grad_scale", 1.0)
    optimizer = Optimizer(DeviceArray(draw(0, 37)), name, backend="cuda", **options, **HYPER[name])
    for t in range(1, 3):
        step_and_compare(optimizer, draw(t, 37), grad_scale)


def steps_on_the_cpu(name, dtype, size, **options):
    optimizer = Optimizer(draw(0, size, dtype), name, backend="numba", **options, **HYPER[name])
    for t in range(1, 4):
        optimizer.step(draw(t, size, dtype), grad_scale=0.75)
    return bits(optimizer.parameters, *optimizer.state.values())


def steps_in_the_simulator(name, dtype, size, *, offset=0, gradient_offset=0, backend="cuda", **options):
    p = DeviceArray(draw(0, size, dtype), offset)
    optimizer = Optimizer(p, name, backend=backend, **options, **HYPER[name])
    for t in range(1, 4):
        optimizer.step(DeviceArray(draw(t, size, dtype), gradient_offset), grad_scale=0.75)
    return bits(*contents(optimizer).values())


@needs("numba")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_operations_and_their_order_are_those_of_the_cpu(name, dtype, exact):
    for size in (3, 37):
        options = {"clip_value": 0.9, "max_norm": 4.0}
        assert steps_in_the_simulator(name, dtype, size, **options) == steps_on_the_cpu(name, dtype, size, **options)


@needs("numba")
@pytest.mark.parametrize(("offset", "gradient_offset"), [(1, 1), (3, 3), (0, 1), (2, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_position_in_memory_changes_no_bit(size, offset, gradient_offset, exact):
    positions = {"offset": offset, "gradient_offset": gradient_offset}
    assert steps_in_the_simulator("adam", "float32", size, **positions) == steps_on_the_cpu("adam", "float32", size)


@needs("numba")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("elements", ELEMENTS)
def test_the_number_of_elements_a_thread_changes_no_bit(elements, dtype, exact, monkeypatch):
    heads, before = [], launch.elements_before_vectors
    monkeypatch.setattr(launch, "elements_before_vectors", lambda *given: heads.append(before(*given)) or heads[-1])
    backend = CudaBackend(elements)
    for size in (37, 5):
        assert steps_in_the_simulator("adam", dtype, size, backend=backend) == steps_on_the_cpu("adam", dtype, size)
    assert set(heads) == {0}  # all of them in vectors, but for what is left behind the last


def test_another_number_of_elements_a_thread_is_refused():
    with pytest.raises(ValueError, match=contains("elements got 3 expected 1, 2, 4, 8 float32")):
        Optimizer(DeviceArray(draw(0, 8)), "sgd", backend=CudaBackend(3))


def buffers_at(*distances, size=37):
    return [get_backend("cuda").device.wrap(DeviceArray(draw(0, size), offset)) for offset in distances]


@pytest.mark.parametrize(
    ("distances", "head"), [((0, 0, 0), 0), ((1, 1, 1), 3), ((3, 3, 3), 1), ((0, 0, 1), 37), ((2, 0, 0), 37)]
)
def test_vectors_begin_where_all_buffers_are_at_a_boundary(distances, head):
    assert launch.elements_before_vectors(buffers_at(*distances), 4) == head


def test_a_buffer_that_ends_before_the_first_boundary_has_no_vectors():
    assert launch.elements_before_vectors(buffers_at(1, 1, size=2), 4) == 2


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_grad_clears_the_gradient_and_nothing_else(dtype, size, offset):
    g = DeviceArray(draw(1, size + 8, dtype), offset)
    inner = DeviceArray.__new__(DeviceArray)
    inner.values, inner._changes = g.values[4 : 4 + size], {}
    p = DeviceArray(draw(0, size, dtype))
    Optimizer(p, "adam", backend="cuda", zero_grad=True).step(inner)
    assert not inner.values.any()
    assert g.values[:4].all()
    assert g.values[4 + size :].all()


def test_groups_and_limits_of_segments_agree_with_the_cpu(exact):
    layout = Layout({"w": (5, 3), "b": (3,), "v": (7,)}, groups={"b": "bias"})
    options = {"layout": layout, "groups": {"bias": {"weight_decay": 0.0}}, "max_segment_norm": 1.0, "max_norm": 1.5}
    host = Optimizer(draw(0, layout.size), "adamw", **options, **HYPER["adamw"])
    device = Optimizer(DeviceArray(draw(0, layout.size)), "adamw", backend="cuda", **options, **HYPER["adamw"])
    for t in range(1, 4):
        host.step(draw(t, layout.size))
        device.step(DeviceArray(draw(t, layout.size)))
    assert bits(*contents(device).values()) == bits(host.parameters, *host.state.values())


@needs("numba")
@pytest.mark.parametrize("size", [0, 1, 63, 65, 16_385])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_squares_is_the_cpu_s(dtype, size, exact):
    if dtype == "float64" and size > 65:
        size = 500  # exact fractions are slow
    values = draw(0, size, dtype)
    buffer = get_backend("cuda").device.wrap(DeviceArray(values))
    assert get_backend("cuda").sum_of_squares(buffer, 1)() == get_backend("numba").sum_of_squares(values, 1)()


def test_skip_nonfinite_leaves_everything_but_a_gradient_to_be_cleared():
    optimizer = Optimizer(DeviceArray(draw(0, 9)), "adam", backend="cuda", skip_nonfinite=True, zero_grad=True)
    optimizer.step(DeviceArray(draw(1, 9)))
    before = bits(*contents(optimizer).values())
    g = DeviceArray(np.full(9, np.inf, "float32"))
    optimizer.step(g)
    assert (optimizer.steps, optimizer.skipped) == (1, 1)
    assert bits(*contents(optimizer).values()) == before
    assert not g.values.any()


@pytest.mark.parametrize("saved_on_host", [False, True])
def test_a_loaded_state_continues_with_the_same_bits(saved_on_host):
    first = Optimizer(DeviceArray(draw(0, 9)), "adam", backend="cuda")
    first.step(DeviceArray(draw(1, 9)))
    saved = first.state_dict()
    if saved_on_host:
        saved["state"] = {name: buffer.copy_to_host() for name, buffer in saved["state"].items()}
    second = Optimizer(DeviceArray(first.parameters.values), "adam", backend="cuda")
    second.load_state_dict(saved)
    for optimizer in (first, second):
        optimizer.step(DeviceArray(draw(2, 9)))
    assert bits(*contents(first).values()) == bits(*contents(second).values())


def test_parameters_stay_the_user_s_own_object_and_states_are_device_arrays():
    p = DeviceArray(draw(0, 9))
    optimizer = Optimizer(p, "adam", backend="cuda")
    assert optimizer.parameters is p
    for state in optimizer.state.values():
        assert not state.copy_to_host().any()
        assert isinstance(get_backend("cuda").device.wrap(state).address, int)


def interface(**changes):
    return DeviceArray(draw(1, 8), **changes)


REFUSED = {
    "a NumPy array": (lambda: draw(1, 8), TypeError, "NumPy host GPU cupy.asarray"),
    "a list": (lambda: [0.0] * 8, TypeError, "list expected __cuda_array_interface__"),
    "half precision": (lambda: interface(typestr="<f2"), TypeError, "float16 float32"),
    "byte-swapped": (lambda: interface(typestr=">f4"), TypeError, "f4 float32"),
    "two dimensions": (lambda: interface(shape=(2, 4)), ValueError, "(2, 4) one dimension"),
    "strided": (lambda: interface(strides=(8,)), ValueError, "strided 8 bytes contiguous"),
    "read-only": (lambda: interface(data=(4096, True)), ValueError, "read-only writable"),
    "misaligned": (lambda: interface(data=(4097, False)), ValueError, "aligned 4 bytes"),
    "masked": (lambda: interface(mask=interface()), ValueError, "masked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_updated_in_place_on_the_gpu_is_refused(case):
    make, exception, words = REFUSED[case]
    with pytest.raises(exception, match=contains(f"parameters {words}")):
        Optimizer(make(), "sgd", backend="cuda")
    optimizer = Optimizer(interface(), "sgd", backend="cuda", zero_grad=True)
    with pytest.raises(exception, match=contains(f"gradients {words}")):
        optimizer.step(make())
    assert optimizer.steps == 0


def test_overlapping_buffers_are_refused():
    p = interface()
    optimizer = Optimizer(p, "adam", backend="cuda")
    for other, name in ((p, "parameters"), (optimizer.state["exp_avg"], "exp_avg")):
        with pytest.raises(ValueError, match=f"gradients and {name} overlap"):
            optimizer.step(other)


def test_an_array_on_the_gpu_is_refused_elsewhere_with_the_backend_s_name():
    with pytest.raises(TypeError, match=contains("DeviceArray NumPy backend='cuda'")):
        Optimizer(interface(), "sgd", backend="reference")


def test_passes_run_on_the_stream_of_the_gradient_s_owner(monkeypatch):
    current = SimpleNamespace(cuda_stream=0)
    torch = SimpleNamespace(cuda=SimpleNamespace(current_stream=lambda device: current))
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensor = type("Tensor", (), {"__module__": "torch", "device": "cuda:0"})()
    assert stream_pointer(tensor) == 0
    current.cuda_stream = 4096
    assert stream_pointer(tensor) == 4096
    assert stream_pointer(interface(stream=2)) == 2
    assert stream_pointer(interface()) is None
    assert stream_pointer(None) is None
