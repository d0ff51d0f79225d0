"""Captured graphs in the simulator, whose captures keep launches and run none; `simulated.py` runs this."""

import gc
import weakref

import numpy as np
import pytest
from conftest import HYPER, bits, draw, needs
from cuda_simulation import DeviceArray, _small_blocks, contents, exact, hyper_of  # noqa: F401 - fixtures
from test_errors import contains

from fastopt import RULES, Layout, Optimizer
from fastopt.backends import get_backend
from fastopt.backends.cuda import coefficients, matrices, numbers, reductions, rule, shim
from fastopt.backends.cuda.buffer import DeviceBuffer
from fastopt.backends.cuda.graph import capture
from fastopt.backends.cuda.streams import capturing, stream_pointer


def ones(size=5):
    array = DeviceArray(np.ones(size, "float32"))
    return array, get_backend("cuda").device.wrap(array)


def test_a_captured_launch_runs_when_it_is_replayed_and_not_before():
    array, buffer = ones()
    graph = capture(lambda: get_backend("cuda").device.clear(buffer))
    assert array.values.all()
    for _ in range(2):
        array.values[:] = 1
        graph.replay()
        assert not array.values.any()


def test_launches_of_a_capture_go_to_its_stream_whoever_the_owner_is():
    seen = []
    capture(lambda: seen.append((stream_pointer(None), stream_pointer(ones()[0]), capturing())), stream=4096)
    assert seen == [(4096, 4096, True)]
    assert (stream_pointer(None), capturing()) == (None, False)


def test_a_function_that_fails_leaves_no_capture_behind():
    array, buffer = ones()
    with pytest.raises(ZeroDivisionError):
        capture(lambda: 1 / 0)
    assert not capturing()
    get_backend("cuda").device.clear(buffer)
    assert not array.values.any()


@pytest.mark.parametrize("stream", [0, 1])
def test_the_default_stream_is_refused(stream):
    with pytest.raises(ValueError, match=contains("stream default None")):
        capture(lambda: None, stream)


def test_what_is_no_stream_is_refused():
    with pytest.raises(TypeError, match=contains("stream str Numba CuPy PyTorch address")):
        capture(lambda: None, "main")


SEGMENTS = Layout({"w": (3, 2), "b": (3,)})


def new(name="adam", **options):
    p = DeviceArray(draw(0, SEGMENTS.size))
    return Optimizer(p, name, layout=SEGMENTS, backend="cuda", **{**hyper_of(name), **options})


def scheduled(optimizer, step, g, size=9):
    """Take steps whose gradients, learning rates and scales are others each time."""
    for t in range(1, 5):
        g.values[:] = draw(t, size)
        optimizer.lr = 0.01 * t
        optimizer.lr_scale = 1 / t
        step(grad_scale=0.5 * t)
    return optimizer.steps, bits(*contents(optimizer).values())


@pytest.mark.parametrize(
    ("name", "limits"), [*((name, {}) for name in RULES), ("adamw", {"max_norm": 0.5}), ("prodigy", {"max_norm": 0.5})]
)
def test_replays_are_steps_while_learning_rate_step_and_scale_change(name, limits):
    captured, stepped = new(name, **limits), new(name, **limits)
    g, same = DeviceArray(draw(9, 9)), DeviceArray(draw(9, 9))
    before = bits(*contents(captured).values())
    replay = captured.capture(g)
    assert bits(*contents(captured).values()) == before
    assert captured.steps == 0
    step = lambda grad_scale: stepped.step(same, grad_scale=grad_scale)  # noqa: E731 - what is compared
    assert scheduled(captured, replay, g) == scheduled(stepped, step, same)
    assert captured.state_dict()["groups"] == stepped.state_dict()["groups"]


def test_replays_and_steps_alternate():
    captured, stepped = new(), new()
    g = DeviceArray(draw(1, 9))
    replay = captured.capture(g)
    for t in range(1, 5):
        if t % 2:
            captured.step(DeviceArray(g.values))
        else:
            replay()
        stepped.step(DeviceArray(g.values))
    assert bits(*contents(captured).values()) == bits(*contents(stepped).values())


def test_a_graph_of_one_s_own_has_the_passes_and_is_prepared():
    captured, stepped = new(max_norm=0.5, zero_grad=True), new(max_norm=0.5, zero_grad=True)
    g, same = DeviceArray(draw(9, 9)), DeviceArray(draw(9, 9))
    graph = capture(lambda: captured.launch(g))

    def step(grad_scale):
        captured.prepare(grad_scale=grad_scale)
        graph.replay()

    other = lambda grad_scale: stepped.step(same, grad_scale=grad_scale)  # noqa: E731 - what is compared
    assert scheduled(captured, step, g) == scheduled(stepped, other, same)
    assert not g.values.any()


LIMITS = [{"max_norm": 0.7}, {"max_segment_norm": 0.3}, {"max_norm": 0.7, "max_segment_norm": 0.3}]


def cut(**options):
    layout = Layout({"w": (5, 3), "b": (3,), "empty": (0,), "v": (7,)}, groups={"b": "bias"})
    return {"layout": layout, "groups": {"bias": {"weight_decay": 0.0}}, **options}


@needs("numba")
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("limits", LIMITS, ids=" ".join)
def test_limits_of_norms_on_the_device_have_the_host_s_bits(limits, maximize, exact):  # noqa: F811
    options = cut(maximize=maximize, **limits, **HYPER["adamw"])
    size = options["layout"].size
    host = Optimizer(draw(0, size), "adamw", backend="numba", **options)
    device = Optimizer(DeviceArray(draw(0, size)), "adamw", backend="cuda", **options)
    for t in range(1, 4):
        host.step(draw(t, size), grad_scale=0.3)  # which float32 does not have
        device.step(DeviceArray(draw(t, size)), grad_scale=0.3)
    assert bits(*contents(device).values()) == bits(host.parameters, *host.state.values())


@pytest.mark.parametrize("name", RULES)
def test_a_step_does_not_wait_for_the_gpu(name, monkeypatch):
    def wait(*_):
        raise AssertionError("the host waits")

    optimizer, gradients = new(name, max_norm=0.5), DeviceArray(draw(1, 9))
    optimizer.step(gradients)
    monkeypatch.setattr(shim, "synchronize", wait)
    monkeypatch.setattr(DeviceBuffer, "copy_to_host", wait)
    optimizer.step(gradients)
    assert optimizer.steps == 2


def test_a_limit_s_value_may_change_between_replays():
    captured, stepped = new(max_norm=0.5), new(max_norm=0.5)
    g = DeviceArray(draw(1, 9))
    replay = captured.capture(g)
    for limit in (0.5, 0.25, 100.0):
        captured.max_norm = stepped.max_norm = limit
        replay()
        stepped.step(g)
    assert bits(*contents(captured).values()) == bits(*contents(stepped).values())


@pytest.mark.parametrize("changes", [{"max_norm": 0.5}, {"zero_grad": True}, {"skip_nonfinite": True, "max_norm": 1.0}])
def test_what_would_take_other_launches_is_refused(changes):
    optimizer = new()
    replay = optimizer.capture(DeviceArray(draw(1, 9)))
    before = bits(*contents(optimizer).values())
    for name, value in changes.items():
        setattr(optimizer, name, value)
    with pytest.raises(RuntimeError, match=contains("capture zero_grad limit again")):
        replay()
    assert (optimizer.steps, bits(*contents(optimizer).values())) == (0, before)


def test_a_limit_that_comes_later_is_one_from_then_on():
    late, early = new(), new(max_norm=0.5)
    late.max_norm = 0.5
    for optimizer in (late, early):
        optimizer.step(DeviceArray(draw(1, 9)))
    assert bits(*contents(late).values()) == bits(*contents(early).values())


@pytest.mark.parametrize("change", [{"max_norm": None}, {"skip_nonfinite": True}])
def test_a_gradient_whose_norm_was_limited_is_not_kept(change):
    optimizer, gradients = new(max_norm=0.5), DeviceArray(draw(1, 9))
    optimizer.step(gradients)
    for name, value in change.items():
        setattr(optimizer, name, value)
    optimizer.step(DeviceArray(draw(2, 9)))
    kept = weakref.ref(gradients)
    del gradients
    gc.collect()
    assert kept() is None


def test_a_whole_step_is_not_captured_since_its_coefficients_would_stay():
    optimizer = new()
    with pytest.raises(RuntimeError, match=contains("coefficients captured launch(gradients) prepare()")):
        capture(lambda: optimizer.step(DeviceArray(draw(1, 9))))
    assert optimizer.steps == 0


@pytest.mark.parametrize("method", ["capture", "launch"])
def test_skip_nonfinite_has_no_graphs(method):
    with pytest.raises(ValueError, match=contains(f"{method} skip_nonfinite=True False")):
        getattr(new(skip_nonfinite=True), method)(DeviceArray(draw(1, 9)))


def test_prepare_wants_passes_first():
    with pytest.raises(RuntimeError, match=contains("prepare launch(gradients) before")):
        new().prepare()


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_replay_by_a_scale_that_is_not_finite_is_refused(scale):
    optimizer = new()
    replay = optimizer.capture(DeviceArray(draw(1, 9)))
    with pytest.raises(ValueError, match=contains("grad_scale finite")):
        replay(grad_scale=scale)
    assert optimizer.steps == 0


def test_a_copy_of_coefficients_is_not_written_again_before_it_was_sent(monkeypatch):
    """Each of the ring's copies: wait for its last transfer, write, send, record; in this order, and in turns."""
    notes = []

    class Event:
        def __init__(self):
            self.number = len([note for note in notes if note[0] == "made"])
            notes.append(("made", self.number))

        def synchronize(self):
            notes.append(("wait", self.number))

        def record(self, stream):
            notes.append(("record", self.number))

    monkeypatch.setattr(coefficients.shim, "event", Event)
    optimizer = new("sgd")
    slots = [values for values, _ in optimizer._spans.table._slots]
    del notes[:]
    seen = []
    for t in range(coefficients._SLOTS + 2):
        optimizer.lr = 1.0 + t
        optimizer.step(DeviceArray(draw(t, 9)))
        seen.append([bytes(values) for values in slots])
    order = [k % coefficients._SLOTS for k in range(coefficients._SLOTS + 2)]
    assert notes == [(what, k) for k in order for what in ("wait", "record")]
    for t in range(1, len(seen)):
        assert [k for k in range(len(slots)) if seen[t][k] != seen[t - 1][k]] == [order[t]]


@pytest.mark.parametrize("name", RULES)
def test_a_captured_step_finds_its_kernels_and_memory_there_since_a_capture_can_make_none(name, monkeypatch):
    for cached in (rule._compiled, reductions.compiled_sums, reductions.add_kernel, numbers._compiled):
        cached.cache_clear()
    matrices.matrix_kernels.cache_clear()
    optimizer, gradients = new(name, max_norm=1.0), DeviceArray(draw(1, 9))

    def refuse(*_, **__):
        raise AssertionError("it is made in the capture")

    monkeypatch.setattr(shim.cuda, "jit", refuse)
    monkeypatch.setattr(shim, "empty", refuse)
    graph = capture(lambda: optimizer.launch(gradients))
    optimizer.prepare()
    graph.replay()
    assert optimizer.steps == 1
