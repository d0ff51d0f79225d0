"""The CUDA kernels as Python functions, in numba-cuda's simulator; `simulated.py` runs this.

"Device" memory is the host's here. What is shown: which elements a kernel reads and writes, whatever lies before and
behind; that the optimizer drives it as it drives the others; and, with a multiply-add that is rounded once put in the
simulator's place, that the operations and their order are those of the CPU's backends, bit for bit.
"""

import sys
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, draw, needs
from test_errors import contains
from test_rules import FEATURES, TOLERANCE

from fastopt import RULES, Layout, Optimizer, _constants, rule
from fastopt._constants import CHUNK
from fastopt.backends import get_backend
from fastopt.backends.cuda import launch, matrices, numbers, reductions
from fastopt.backends.cuda.backend import CudaBackend
from fastopt.backends.cuda.rule import ELEMENTS
from fastopt.backends.cuda.streams import stream_pointer
from fastopt.rules import vocabulary

SIZES = (0, 1, 3, 7, 37)

SEGMENTS = Layout({"w": (5, 3), "b": (3,), "empty": (0,), "v": (2, 7)}, groups={"b": "bias"})
"""Matrices of both orientations, a vector, and a segment without elements."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each of a block's threads is a thread of Python."""
    monkeypatch.setattr(launch, "BLOCK", 8)
    monkeypatch.setattr(matrices, "BLOCK", 8)
    monkeypatch.setattr(numbers, "BLOCK", 2)
    monkeypatch.setattr(reductions, "TILE", 2)
    monkeypatch.setattr(reductions, "_TILE", np.uint64(2))


def fma_rounded_once(a, b, c):
    """Return a·b + c as the hardware does; takes the place of the vocabulary's code, and so sees none of our names."""
    from fractions import Fraction

    import numpy as np

    kind = next((x.dtype.type for x in (c, b, a) if isinstance(x, np.generic)), None)
    if kind is None:  # of numbers that are computed once a step, in Python
        return a * b + c
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


def hyper_of(name):
    """Return hyper-parameters that are not the defaults, where the table has some."""
    return HYPER.get(name, {})


def step_and_compare(optimizer, g, **options):
    """Take a step, and the same one by the reference backend from the same numbers."""
    before = contents(optimizer)
    parameters = before.pop("parameters")
    twin = Optimizer(parameters, optimizer.rule.name, layout=optimizer.layout, backend="reference", **options)
    twin.load_state_dict(optimizer.state_dict() | {"state": before})
    optimizer.step(DeviceArray(g), grad_scale=0.375)
    twin.step(g, grad_scale=0.375)
    found, expected = optimizer.state_dict()["groups"], twin.state_dict()["groups"]
    # five products of matrices, each of which multiplies what the one before has rounded
    factor = 1000 if optimizer.rule.name == "muon" else 1
    tolerance = factor * TOLERANCE * np.finfo(g.dtype).eps
    for name, values in {"parameters": parameters, **twin.state}.items():
        np.testing.assert_allclose(contents(optimizer)[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
    for group, own in expected.items():
        assert found[group]["memory"] == pytest.approx(own["memory"], rel=64 * float(np.finfo(g.dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_steps_agree_with_the_reference(name, dtype):
    p = DeviceArray(draw(0, SEGMENTS.size, dtype))
    optimizer = Optimizer(p, name, layout=SEGMENTS, backend="cuda", **hyper_of(name))
    for t in range(1, 3):
        step_and_compare(optimizer, draw(t, SEGMENTS.size, dtype))


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("feature", FEATURES)
def test_features_around_a_rule_agree_with_the_reference(feature, name):
    options = {key: value for key, value in FEATURES[feature].items() if key != "grad_scale"}
    p = DeviceArray(draw(0, SEGMENTS.size))
    optimizer = Optimizer(p, name, layout=SEGMENTS, backend="cuda", **options, **hyper_of(name))
    for t in range(1, 3):
        step_and_compare(optimizer, draw(t, SEGMENTS.size), **options)


def steps_on_the_cpu(name, dtype, size, **options):
    optimizer = Optimizer(draw(0, size, dtype), name, backend="numba", **options, **hyper_of(name))
    for t in range(1, 4):
        optimizer.step(draw(t, size, dtype), grad_scale=0.75)
    return bits(optimizer.parameters, *optimizer.state.values())


def steps_in_the_simulator(name, dtype, size, *, offset=0, gradient_offset=0, backend="cuda", **options):
    p = DeviceArray(draw(0, size, dtype), offset)
    optimizer = Optimizer(p, name, backend=backend, **options, **hyper_of(name))
    for t in range(1, 4):
        optimizer.step(DeviceArray(draw(t, size, dtype), gradient_offset), grad_scale=0.75)
    return bits(*contents(optimizer).values())


@needs("numba")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_operations_and_their_order_are_those_of_the_cpu(name, dtype, exact):
    for size in (3, 37):
        assert steps_in_the_simulator(name, dtype, size) == steps_on_the_cpu(name, dtype, size)


@needs("numba")
@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "muon", "prodigy", "schedule_free_adamw"])
def test_steps_with_a_limited_norm_have_the_cpu_s_bits(name, exact):
    for dtype, size in (("float32", 37), ("float64", 3)):
        options = {"clip_value": 0.9, "max_norm": 4.0}
        assert steps_in_the_simulator(name, dtype, size, **options) == steps_on_the_cpu(name, dtype, size, **options)


@needs("numba")
def test_a_sum_over_two_chunks_has_the_cpu_s_bits(exact):
    size = CHUNK + 65
    host = Optimizer(draw(0, size), "sgd", backend="numba", max_norm=1.0)
    device = Optimizer(DeviceArray(draw(0, size)), "sgd", backend="cuda", max_norm=1.0)
    host.step(draw(1, size))
    device.step(DeviceArray(draw(1, size)))
    assert bits(device.parameters.values) == bits(host.parameters)


@rule(sums=("products", "squares"))
def adding(p, g, *, lr=0.25):
    return p, (p, g), (g, g)


@adding.memory(start=0.0)
def products_so_far(products_so_far, total_products):
    return products_so_far + total_products


@adding.memory(start=1.0)
def squares_so_far(squares_so_far, total_squares):
    return squares_so_far + total_squares


def in_lanes(a, b, chunk):
    """Return Σ a·b: in 64 lanes for each chunk, lanes pairwise, chunks in order."""
    total = 0.0
    for first in range(0, a.size, chunk):
        lanes = np.zeros(64)
        for i in range(first, min(first + chunk, a.size)):
            lanes[i % 64] = float(a[i]) * float(b[i]) + lanes[i % 64]
        while lanes.size > 1:
            lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
        total += lanes[0]
    return total


@pytest.fixture
def _chunks_of_128(monkeypatch):
    reductions.compiled_sums.cache_clear()
    monkeypatch.setattr(_constants, "CHUNK", 128)
    monkeypatch.setattr(reductions, "CHUNK", 128)
    yield
    reductions.compiled_sums.cache_clear()


@pytest.mark.usefixtures("_chunks_of_128")
def test_several_sums_over_many_chunks_are_added_in_order():
    layout = Layout({"a": (600,), "b": (1,), "c": (130,)}, groups={"b": "b"})
    p, g = draw(0, layout.size, "float64"), draw(1, layout.size, "float64")
    optimizer = Optimizer(DeviceArray(p), adding, layout=layout, groups={"b": {"lr": 0.5}}, backend="cuda")
    optimizer.step(DeviceArray(g))
    products = squares = 0.0
    for segment in layout:
        own = slice(segment.offset, segment.stop)
        products += in_lanes(p[own], g[own], 128)
        squares += in_lanes(g[own], g[own], 128)
    for group in optimizer.state_dict()["groups"].values():
        assert group["memory"] == {"products_so_far": products, "squares_so_far": 1.0 + squares}


@needs("numba")
@pytest.mark.parametrize("limits", [{}, {"max_norm": 1.0}], ids=["plain", "limited"])
def test_a_rule_for_each_group_has_the_cpu_s_bits(limits, exact):
    layout = Layout({"w": (5, 3), "b": (3,), "v": (2, 7), "c": (4,)}, groups={"b": "b", "v": "v", "c": "c"})
    groups = {"b": {"rule": "lamb"}, "v": {"rule": "prodigy"}, "c": {"rule": "schedule_free_adamw"}}
    host = Optimizer(draw(0, layout.size), "adamw", layout=layout, groups=groups, backend="numba", **limits)
    array = DeviceArray(draw(0, layout.size))
    device = Optimizer(array, "adamw", layout=layout, groups=groups, backend="cuda", **limits)
    for t in range(1, 4):
        host.step(draw(t, layout.size))
        device.step(DeviceArray(draw(t, layout.size)))
    assert bits(*contents(device).values()) == bits(host.parameters, *host.state.values())
    assert device.state_dict()["groups"] == host.state_dict()["groups"]


@rule(decay=None, starts={"a": "lr", "b": 0.5, "c": "p"}, sums=("squares",))
def starting(p, g, a, b, c, *, lr=0.25):
    return p + a + b, a, b, c, (g, g)


@starting.number
def inverse(squares):
    return 1.0 / squares


@starting.number
def root(squares):
    return sqrt(squares)


@starting.sweep(writes=("a", "b"))
def applied(p, a, b, *, inverse, root):
    return inverse, root


def test_states_start_as_they_should_and_a_number_divides_by_zero():
    optimizer = Optimizer(DeviceArray(np.ones(3)), starting, backend="cuda")
    assert {name: state.copy_to_host().tolist() for name, state in optimizer.state.items()} == {
        "a": [0.25] * 3,
        "b": [0.5] * 3,
        "c": [1.0] * 3,
    }
    optimizer.step(DeviceArray(np.zeros(3)))
    assert optimizer.parameters.values.tolist() == [1.75] * 3
    assert [optimizer.state[name].copy_to_host()[0] for name in ("a", "b")] == [np.inf, 0.0]


def test_products_of_matrices_of_several_shapes_agree_with_numpy():
    device = get_backend("cuda").device
    product = get_backend("cuda").matmul(np.dtype("float64"), 1)
    a, b = draw(0, 6, "float64"), draw(1, 6, "float64")
    x, y = (product.matrix(device.wrap(DeviceArray(values)), (2, 3)) for values in (a, b))
    out = device.zeros(4, np.dtype("float64"))
    product.matrix(out, (2, 2))[...] = 2.0 * product(x, y.T) + product(x, y.T).T * 0.5
    own = a.reshape(2, 3) @ b.reshape(2, 3).T
    np.testing.assert_array_equal(out.copy_to_host().reshape(2, 2), 2.0 * own + 0.5 * own.T)
    for bad in (lambda: x + y.T, lambda: product(x, y)):
        with pytest.raises(ValueError, match=r"got shapes \(2, 3\) and "):
            bad()


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


@pytest.mark.parametrize("name", ["adam", "prodigy", "schedule_free_adamw"])
def test_skip_nonfinite_leaves_everything_but_a_gradient_to_be_cleared(name):
    optimizer = Optimizer(DeviceArray(draw(0, 9)), name, backend="cuda", skip_nonfinite=True, zero_grad=True)
    optimizer.step(DeviceArray(draw(1, 9)))
    before, memory = bits(*contents(optimizer).values()), optimizer.state_dict()["groups"]
    g = DeviceArray(np.full(9, np.inf, "float32"))
    optimizer.step(g)
    assert (optimizer.steps, optimizer.skipped) == (1, 1)
    assert bits(*contents(optimizer).values()) == before
    assert optimizer.state_dict()["groups"] == memory
    assert not g.values.any()


@pytest.mark.parametrize("saved_on_host", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_a_loaded_state_continues_with_the_same_bits(name, saved_on_host):
    first = Optimizer(DeviceArray(draw(0, SEGMENTS.size)), name, layout=SEGMENTS, backend="cuda")
    for t in (1, 2):
        first.step(DeviceArray(draw(t, SEGMENTS.size)))
    saved = first.state_dict()
    if saved_on_host:
        saved["state"] = first.read_state()
    second = Optimizer(DeviceArray(first.parameters.values), name, layout=SEGMENTS, backend="cuda")
    second.load_state_dict(saved)
    for optimizer in (first, second):
        optimizer.step(DeviceArray(draw(3, SEGMENTS.size)))
    assert bits(*contents(first).values()) == bits(*contents(second).values())
    assert first.state_dict()["groups"] == second.state_dict()["groups"]


def test_a_limit_that_is_set_between_steps_keeps_the_memory():
    optimizer, twin = (Optimizer(DeviceArray(draw(0, 9)), "prodigy", backend="cuda") for _ in range(2))
    for t in range(1, 4):
        optimizer.max_norm = 1e9 if t == 2 else None
        for other in (optimizer, twin):
            other.step(DeviceArray(draw(t, 9)))
    assert optimizer.state_dict()["groups"] == twin.state_dict()["groups"]


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
