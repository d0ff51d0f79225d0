"""Rules of several stages, and with memory: by segment, in groups, saved and resumed, on every backend."""

import numpy as np
import oracle
import pytest
from conftest import DTYPES, HYPER, bits, contents, draw, needs

from fastopt import RULES, Layout, Optimizer, fma, rule
from fastopt.backends import get_backend, why_missing

LAYOUT = Layout({"w0": (150, 130), "b0": (130,), "w1": (130, 7), "b1": (7,)}, groups={"b0": "bias", "b1": "bias"})
STAGED = [name for name, own in RULES.items() if not own.is_local or own.numbers]
TOLERANCE = 64


def gradients(dtype, steps):
    """Return gradients with a common direction, so that what is estimated from it moves."""
    common = draw(100, LAYOUT.size, dtype)
    return [common + draw(t, LAYOUT.size, dtype) for t in range(steps)]


def make(name, backend, dtype="float32", **options):
    return Optimizer(draw(0, LAYOUT.size, dtype), name, layout=LAYOUT, backend=backend, **{**HYPER[name], **options})


def everything(optimizer):
    """Return parameters, states, and the rules' memory."""
    memory = [list(group["memory"].values()) for group in optimizer.state_dict()["groups"].values()]
    return [*contents(optimizer).values(), *map(np.array, memory)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lamb", "muon"])
def test_each_segment_is_treated_as_a_whole(name, dtype, backend):
    optimizer = make(name, backend, dtype)
    hyper = dict(HYPER[name])
    weight_decay = hyper.pop("weight_decay")
    eps = np.finfo(dtype).eps
    for t, g in enumerate(gradients(dtype, 10), 1):
        before = contents(optimizer)
        optimizer.step(g)
        after = contents(optimizer)
        for segment in LAYOUT:
            states = {k: segment.view(v).astype("float64") for k, v in before.items() if k != "parameters"}
            p = segment.view(before["parameters"])
            expected = oracle.step(name, p, segment.view(g), states, t, hyper, weight_decay=weight_decay)
            where = f"{segment.name}, step {t}"
            np.testing.assert_allclose(
                segment.view(after["parameters"]), expected, rtol=TOLERANCE * eps, atol=TOLERANCE * eps, err_msg=where
            )


def test_prodigy_estimates_the_distance(backend):
    optimizer = make("prodigy", backend, "float64", d0=1e-4)
    hyper = HYPER["prodigy"] | {"d0": 1e-4}
    weight_decay = hyper.pop("weight_decay")
    p, state = (
        draw(0, LAYOUT.size, "float64"),
        {"d": 1e-4, "numerator": 0.0, "initial": draw(0, LAYOUT.size, "float64")},
    )
    for t, g in enumerate(gradients("float64", 10), 1):
        p = oracle.step("prodigy", p, g, state, t, hyper, weight_decay=weight_decay)
        optimizer.step(g)
    memory = optimizer.state_dict()["groups"]["default"]["memory"]
    assert memory["d"] > 2e-4
    np.testing.assert_allclose(memory["d"], state["d"], rtol=1e-10)
    np.testing.assert_allclose(optimizer.parameters, p, rtol=1e-10, atol=1e-12)


@needs("numba", "c")
@pytest.mark.parametrize("max_norm", [None, 3.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STAGED)
def test_backends_and_threads_change_no_bit(name, dtype, max_norm, monkeypatch):
    monkeypatch.setattr("fastopt.backends.numba.launch.parallel_threads", lambda: 3)
    results = []
    for backend in ("numba", "c"):
        for threads in (1, 2, 3):
            optimizer = make(name, backend, dtype, threads=threads, max_norm=max_norm)
            for g in gradients(dtype, 5):
                optimizer.step(g)
            results.append(bits(*everything(optimizer)))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", STAGED)
def test_saved_and_resumed_to_the_bit(name, backend):
    whole, first = make(name, backend), make(name, backend)
    for g in gradients("float32", 3):
        whole.step(g)
        first.step(g)
    second = make(name, backend, lr=0.5)
    second.parameters[:] = first.parameters
    second.load_state_dict(first.state_dict())
    for g in gradients("float32", 6)[3:]:
        whole.step(g)
        second.step(g)
    assert bits(*everything(whole)) == bits(*everything(second))


def test_a_memory_of_another_rule_is_refused():
    saved = make("prodigy", "reference").state_dict()
    saved["groups"]["default"]["memory"] = {"d": 1.0}
    with pytest.raises(ValueError, match=r"memory .*expected \['d', 'numerator'\]"):
        make("prodigy", "reference").load_state_dict(saved)


def test_a_group_has_a_rule_of_its_own(backend):
    optimizer = Optimizer(
        draw(0, LAYOUT.size),
        "muon",
        layout=LAYOUT,
        backend=backend,
        groups={"bias": {"rule": "sgd", "lr": 0.5}},
        lr=0.25,
    )
    g = draw(1, LAYOUT.size)
    before = optimizer.parameters.copy()
    optimizer.step(g)
    bias = LAYOUT.segments[1]
    expected = bias.view(before) - np.float32(0.5) * bias.view(g)
    np.testing.assert_allclose(bias.view(optimizer.parameters), expected, rtol=1e-6)
    assert sorted(optimizer.state) == ["momentum_buffer", "update"]
    assert not bias.view(optimizer.state["momentum_buffer"]).any()
    assert LAYOUT.segments[0].view(optimizer.state["momentum_buffer"]).all()


@pytest.mark.parametrize("name", STAGED)
def test_a_skipped_gradient_leaves_everything_as_it_was(name, backend):
    optimizer, same = make(name, backend, skip_nonfinite=True), make(name, backend, skip_nonfinite=True)
    for step in range(3):
        for each in (optimizer, same):
            each.step(gradients("float32", 3)[step])
        wrong = draw(9, LAYOUT.size)
        wrong[77] = np.inf
        optimizer.step(wrong)
    assert (optimizer.steps, optimizer.skipped) == (3, 3)
    assert bits(*everything(optimizer)) == bits(*everything(same))


@pytest.mark.parametrize("name", STAGED)
def test_zero_grad_comes_after_the_last_use_of_the_gradient(name, backend):
    kept, zeroed = make(name, backend), make(name, backend, zero_grad=True)
    for g in gradients("float32", 3):
        kept.step(g.copy())
        zeroed.step(g)
        assert not g.any()
    assert bits(*everything(kept)) == bits(*everything(zeroed))


def own_rule(decay):
    @rule(decay=decay, sums=("squares",), writes=())
    def normalised(p, g, *, lr=0.1):
        return (g, g)

    @normalised.number
    def step(lr, squares):
        return lr / squares**0.5

    @normalised.coefficients
    def coefficients(t, *, lr=0.1):
        return {"lr": lr}

    @normalised.sweep(writes=("p",))
    def descend(p, g, *, step):
        return fma(-step, g, 1.0 * p)

    return normalised


@pytest.mark.parametrize("own", [pytest.param("numba", marks=needs("numba")), "reference"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_decay_acts_once(decay, dtype, own):
    p, g = draw(0, 1000, dtype), draw(1, 1000, dtype)
    start = p.astype("float64")
    expected_g = g + (0.5 * start if decay == "l2" else 0.0)
    expected = start * (1 - 0.1 * 0.5 if decay == "decoupled" else 1.0)
    expected = expected - 0.1 * expected_g / np.linalg.norm(expected_g)
    Optimizer(p, own_rule(decay), backend=own, weight_decay=0.5).step(g)
    np.testing.assert_allclose(p, expected, rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("shape", [(3, 5), (64, 64), (100, 33), (1, 7), (257, 19)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_matrices(dtype, shape, compiled):
    a, b = draw(0, shape[0] * shape[1], dtype).reshape(shape), draw(1, shape[1] * 41, dtype).reshape(shape[1], 41)
    for right in (b, a.T, np.ascontiguousarray(a.T)):
        products = []
        for backend in ("numba", "c"):
            if why_missing(backend) is None:
                for threads in (1, 2, 3):
                    products.append(get_backend(backend).matmul(np.dtype(dtype), threads)(a, right))
        exact = a.astype("float64") @ right.astype("float64")
        bound = np.finfo(dtype).eps * shape[1] * (np.abs(a).astype("float64") @ np.abs(right).astype("float64"))
        assert (np.abs(products[0] - exact) <= bound).all()
        assert all(bits(product) == bits(products[0]) for product in products)


def test_a_number_that_takes_an_unknown_name_is_refused():
    own = own_rule("l2")

    @own.number
    def other(nothing):
        return nothing

    with pytest.raises(TypeError, match=r"number other takes 'nothing', expected one of .*squares"):
        Optimizer(draw(0, 4), own, backend="reference")


def test_a_stage_that_takes_a_number_too_early_is_refused():
    @rule(sums=("squares",))
    def early(p, g, *, late):
        return p, (g, g)

    @early.coefficients
    def coefficients(t, *, lr=0.1):
        return {"lr": lr}

    @early.number
    def late(squares):
        return squares

    with pytest.raises(TypeError, match=r"early takes 'late', expected one of .*lr"):
        Optimizer(draw(0, 4), early, backend="reference")
