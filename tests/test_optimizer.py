"""The optimizer beside others: Python threads, forked children, empty buffers, views, what it says of itself."""

import multiprocessing
import threading
import warnings

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, contents, draw

from fastopt import RULES, Layout, Optimizer, fma, rule
from fastopt.backends import get_backend
from fastopt.backends.reference import ReferenceBackend

ABOVE_PARALLEL = 100_003


def train(seed, backend, name="adam", steps=5):
    """Return the bits of p and the states after some steps on two threads."""
    optimizer = Optimizer(draw(seed, ABOVE_PARALLEL), name, backend=backend, threads=2, max_norm=1.0, **HYPER[name])
    for t in range(steps):
        optimizer.step(draw(1000 + t, ABOVE_PARALLEL))
    return bits(*contents(optimizer).values())


def test_two_optimizers_in_two_python_threads_do_not_meet(compiled):
    alone = [train(seed, compiled, steps=30) for seed in range(2)]
    together = [None, None]
    start = threading.Barrier(2)

    def run(seed):
        start.wait(timeout=60)
        together[seed] = train(seed, compiled, steps=30)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert together == alone


def send_training(connection, backend):
    connection.send(train(0, backend))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_steps_with_the_same_bits(compiled):
    expected = train(0, compiled)  # the parent's threads run before the fork
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=send_training, args=(sender, compiled))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, where threads run: which is the point
        child.start()
    try:
        assert receiver.poll(60), "the child hangs or died"
        assert receiver.recv() == expected
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0}, {"max_segment_norm": 1.0}, {"skip_nonfinite": True}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_parameters_are_no_error(dtype, options, backend):
    optimizer = Optimizer(np.zeros(0, dtype), "adam", backend=backend, zero_grad=True, **options)
    optimizer.step(np.zeros(0, dtype))
    assert (optimizer.steps, optimizer.skipped) == (1, 0)


COPIES_OF_P = {("schedule_free_adamw", "z"), ("prodigy", "initial")}
"""The states that do not start at zero."""


@pytest.mark.parametrize("name", RULES)
def test_states_have_the_rule_s_names_and_start_at_zero_or_as_a_copy(name, backend):
    p = draw(0, 10)
    optimizer = Optimizer(p, name, layout=Layout({"matrix": (5, 2)}), backend=backend)
    assert tuple(optimizer.state) == RULES[name].states
    for state, buffer in optimizer.state.items():
        assert (buffer.dtype, buffer.shape) == (p.dtype, p.shape)
        assert not np.shares_memory(buffer, p)
        assert bits(buffer) == bits(p if (name, state) in COPIES_OF_P else np.zeros_like(p))


def test_a_state_starts_at_a_number_or_as_a_hyper_parameter(backend):
    @rule(starts={"length": "lr", "total": 0.5})
    def own(p, g, length, total, *, lr=0.25):
        return fma(-length, g, p), length, total + g * g

    p = np.zeros(2)
    try:
        optimizer = Optimizer(p, own, backend=backend, lr=0.125)
    except ValueError as error:
        pytest.skip(str(error))
    assert optimizer.state["length"].tolist() == [0.125, 0.125]
    assert optimizer.state["total"].tolist() == [0.5, 0.5]
    optimizer.step(np.ones(2))
    assert (p.tolist(), optimizer.state["total"].tolist()) == ([-0.125, -0.125], [1.5, 1.5])


def test_states_are_read_and_written_in_place(backend):
    layout = Layout({"w": (2, 3), "b": (3,)})
    optimizer = Optimizer(draw(0, 9), "adagrad", layout=layout, backend=backend)
    view = layout.views(optimizer.state["sum"])["w"]
    optimizer.state["sum"].fill(4.0)
    g = np.full(9, 2.0, "float32")
    optimizer.step(g)
    assert view.shape == (2, 3)
    assert view.tolist() == [[8.0] * 3] * 2


def test_parameters_are_updated_in_place(backend):
    p = draw(0, 9)
    before = p.copy()
    optimizer = Optimizer(p, "sgd", backend=backend)
    optimizer.step(draw(1, 9))
    assert optimizer.parameters is p
    assert (p != before).all()


def test_gradients_may_come_in_another_buffer_each_step(backend):
    one, many = draw(0, 9), draw(0, 9)
    optimizers = Optimizer(one, "momentum", backend=backend), Optimizer(many, "momentum", backend=backend)
    buffer = np.empty(9, "float32")
    for t in range(4):
        buffer[:] = draw(t, 9)
        optimizers[0].step(buffer)
        optimizers[1].step(draw(t, 9))
    assert bits(one) == bits(many)


def test_a_backend_may_be_an_object(backend):
    assert train(3, get_backend(backend)) == train(3, backend)


@pytest.mark.parametrize("given", [5, ReferenceBackend])
def test_what_is_no_backend_is_refused(given):
    with pytest.raises(TypeError, match=r"backend: got .*, expected one of numba, c, cuda, reference, or a backend"):
        Optimizer(draw(0, 8), backend=given)


def test_repr_says_size_dtype_rule_and_hyper_parameters():
    text = repr(Optimizer(np.zeros(12_345), "sgd", lr=0.25, backend="reference"))
    assert text == "Optimizer(12,345 float64, sgd: lr=0.25, weight_decay=0.0)"


def test_hyper_is_a_copy():
    optimizer = Optimizer(np.zeros(1), "sgd", lr=0.25, backend="reference")
    optimizer.hyper["lr"] = 9.0
    assert optimizer.lr == 0.25


def test_setting_lr_sets_it_in_every_group():
    layout = Layout({"w": (1,), "b": (1,)}, groups={"b": "bias"})
    p = np.zeros(2)
    optimizer = Optimizer(p, "sgd", layout=layout, groups={"bias": {"lr": 9.0}}, backend="reference")
    optimizer.lr = 0.5
    optimizer.step(np.ones(2))
    assert p.tolist() == [-0.5, -0.5]


def test_the_backend_is_named(backend):
    assert Optimizer(np.zeros(1), "sgd", backend=backend).backend == backend


@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_a_captured_step_on_the_host_is_a_step(name):
    captured, stepped = (Optimizer(draw(0, 9), name, max_norm=0.5) for _ in range(2))
    g = draw(1, 9)
    replay = captured.capture(g)
    assert captured.steps == 0
    for t in range(1, 4):
        g[:] = draw(t, 9)
        captured.lr_scale = stepped.lr_scale = 1 / t
        replay(grad_scale=0.5)
        stepped.step(g, grad_scale=0.5)
    assert captured.steps == 3
    assert captured.parameters.tobytes() == stepped.parameters.tobytes()


def test_a_step_in_two_parts_on_the_host_is_a_step():
    launched, stepped = (Optimizer(draw(0, 9), "adam") for _ in range(2))
    for optimizer in (launched, stepped):
        optimizer.step(draw(1, 9))
    g = draw(2, 9)
    launched._take(g)
    launched.prepare()
    launched.launch(g)
    stepped.step(g)
    assert launched.steps == 2
    assert launched.parameters.tobytes() == stepped.parameters.tobytes()


SET = {
    "maximize": True,
    "clip_value": 0.25,
    "max_norm": 0.5,
    "max_segment_norm": 0.5,
    "lr_scale": 0.5,
    "lr": 0.05,
    "threads": 3,
}


@pytest.mark.parametrize("name", SET)
def test_what_is_set_between_two_steps_holds_for_the_second(name, compiled):
    """One that was made so, and takes the first step's result, is what to expect."""
    first, then = draw(1, 350), draw(2, 350)
    optimizer = Optimizer(draw(0, 350), "momentum", backend=compiled)
    optimizer.step(first)
    setattr(optimizer, name, SET[name])
    other = Optimizer(draw(0, 350), "momentum", backend=compiled)
    other.step(first)
    options = {} if name == "lr_scale" else {name: SET[name]}
    expected = Optimizer(other.parameters, "momentum", backend=compiled, **options)
    for state, values in other.state.items():
        expected.state[state][:] = values
    expected.lr_scale = SET[name] if name == "lr_scale" else 1.0
    expected.steps = 1
    for one in (optimizer, expected):
        one.step(then)
    assert bits(*contents(optimizer).values()) == bits(*contents(expected).values())


@pytest.mark.parametrize("value", [0, 1.5, None])
def test_threads_are_checked_when_they_are_set(value):
    optimizer = Optimizer(draw(0, 9), backend="reference")
    with pytest.raises((TypeError, ValueError), match="threads: got"):
        optimizer.threads = value


@pytest.mark.parametrize("scale", [np.float32(1), np.float32(0.5), 1])
def test_a_scale_of_another_type_is_the_number_that_it_is(scale, compiled):
    results = []
    for given in (scale, float(scale)):
        optimizer = Optimizer(draw(0, 350, "float64"), "adam", backend=compiled, max_norm=0.1)
        optimizer.step(draw(1, 350, "float64"), grad_scale=given)
        optimizer.step(draw(2, 350, "float64"))
        results.append(bits(*contents(optimizer).values()))
    assert results[0] == results[1]
