"""Every rule on every backend, and everything around a rule, against the oracle: parameters and states, step by step.

Each step of the oracle starts from the optimizer's own values before that step, in float64. So errors do not add up
over the steps, and one may differ by the roundings of one update only: about ten operations on numbers of the size of
normal draws. Hence TOLERANCE units of the last place, absolute (of 1) and relative, in both dtypes.
"""

import numpy as np
import oracle
import pytest
from conftest import DTYPES, HYPER, bits, contents, draw

from fastopt import RULES, Layout, Optimizer

TOLERANCE = 16
SIZES = (0, 1, 7, 1000, 65_537)
FEATURES = {
    "maximize": {"maximize": True},
    "grad_scale": {"grad_scale": 0.375},
    "clip_value": {"clip_value": 0.5},
    "max_norm active": {"max_norm": 1.5},
    "max_norm inactive": {"max_norm": 1e6},
    "all": {"maximize": True, "grad_scale": 0.375, "clip_value": 0.05, "max_norm": 3.0},
}


def step_and_compare(optimizer, g, *, grad_scale=1.0, lr_scale=1.0):
    before = contents(optimizer)
    hyper = optimizer.hyper | {"lr": optimizer.lr * lr_scale}
    weight_decay = hyper.pop("weight_decay")
    states = {name: before[name].astype("float64") for name in optimizer.state}
    (group,) = optimizer.state_dict()["groups"].values()
    states |= group["memory"]
    around = {name: getattr(optimizer, name) for name in ("maximize", "clip_value", "max_norm")}
    p = oracle.step(
        optimizer.rule.name,
        before["parameters"],
        g,
        states,
        optimizer.steps + 1,
        hyper,
        weight_decay=weight_decay,
        grad_scale=grad_scale,
        **around,
    )
    optimizer.step(g, grad_scale=grad_scale)
    (group,) = optimizer.state_dict()["groups"].values()
    assert set(states) == {*optimizer.state, *group["memory"]}
    tolerance = TOLERANCE * np.finfo(g.dtype).eps
    after = contents(optimizer) | group["memory"]
    for name, expected in {"parameters": p, **states}.items():
        where = f"{name}, step {optimizer.steps}"
        np.testing.assert_allclose(after[name], expected, rtol=tolerance, atol=tolerance, err_msg=where)


def test_the_table_has_every_rule_and_no_default():
    assert HYPER.keys() == RULES.keys() == oracle.ORACLES.keys()
    for name, rule in RULES.items():
        assert HYPER[name].keys() == rule.hyper.keys()
        assert not HYPER[name].items() & rule.hyper.items()


@pytest.mark.parametrize("name", RULES)
def test_decay_is_of_the_kind_that_the_oracle_says(name):
    assert RULES[name].decay == {"own": None}.get(oracle.DECAY[name], oracle.DECAY[name])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_ten_steps_agree_with_the_oracle(name, backend, dtype, size):
    optimizer = Optimizer(draw(0, size, dtype), name, backend=backend, **HYPER[name])
    for t in range(1, 11):
        step_and_compare(optimizer, draw(t, size, dtype))
    assert optimizer.steps == 10


@pytest.mark.parametrize("weight_decay", [0.0, 0.0625])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("feature", FEATURES)
def test_features_around_a_rule_agree_with_the_oracle(feature, name, weight_decay, backend):
    options = dict(FEATURES[feature])
    grad_scale = options.pop("grad_scale", 1.0)
    hyper = HYPER[name] | {"weight_decay": weight_decay}
    optimizer = Optimizer(draw(0, 1000), name, backend=backend, **options, **hyper)
    for t in range(1, 4):
        step_and_compare(optimizer, draw(t, 1000), grad_scale=grad_scale)


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_but_the_inactive_one_changes_the_step(feature, backend):
    options = dict(FEATURES[feature])
    grad_scale = options.pop("grad_scale", 1.0)
    p, plain = draw(0, 1000), draw(0, 1000)
    Optimizer(plain, "sgd", backend=backend).step(draw(1, 1000))
    Optimizer(p, "sgd", backend=backend, **options).step(draw(1, 1000), grad_scale=grad_scale)
    assert np.array_equal(p, plain) == (feature == "max_norm inactive")


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("grad_scale", [1.0, -0.5])
def test_max_segment_norm_limits_each_segment_before_the_whole(max_norm, grad_scale, backend):
    layout = Layout({"a": (5, 4), "b": (3,), "c": (50,)})
    p, g = draw(0, layout.size, "float64"), draw(1, layout.size, "float64")
    expected = g * grad_scale
    for segment in layout:
        part = segment.view(expected)
        part *= min(1, 0.9 / (np.linalg.norm(part) + 1e-6))
    if max_norm is not None:
        expected *= min(1, max_norm / (np.linalg.norm(expected) + 1e-6))
    expected = p - 0.1 * expected
    optimizer = Optimizer(p, "sgd", layout=layout, backend=backend, lr=0.1, max_norm=max_norm, max_segment_norm=0.9)
    optimizer.step(g, grad_scale=grad_scale)
    np.testing.assert_allclose(p, expected, rtol=1e-13)


@pytest.mark.parametrize("size", [1, 2047, 2048, 5000, 65_537])
def test_zero_grad_leaves_zeros_and_the_same_parameters(size, backend):
    p, q, g = draw(0, size), draw(0, size), draw(1, size)
    Optimizer(p, "adam", backend=backend).step(g)
    assert g.all()
    Optimizer(q, "adam", backend=backend, zero_grad=True).step(g)
    assert bits(p) == bits(q)
    assert not g.any()


def test_groups_equal_one_optimizer_each(backend):
    layout = Layout({"w0": (30, 4), "b0": (4,), "w1": (4, 2), "b1": (2,)}, groups={"b0": "bias", "b1": "bias"})
    whole, apart = draw(0, layout.size), draw(0, layout.size)
    bias = {"weight_decay": 0.0, "lr": 0.5}
    optimizer = Optimizer(whole, "adamw", layout=layout, groups={"bias": bias}, backend=backend, **HYPER["adamw"])
    others = []
    for segment in layout:
        hyper = HYPER["adamw"] | (bias if segment.group == "bias" else {})
        others.append(Optimizer(apart[segment.offset : segment.stop], "adamw", backend=backend, **hyper))
    for t in range(1, 4):
        g = draw(t, layout.size)
        optimizer.step(g)
        for segment, other in zip(layout, others, strict=True):
            other.step(g[segment.offset : segment.stop])
    assert bits(whole) == bits(apart)


@pytest.mark.parametrize("where", [0, 500, 999])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_skip_nonfinite_leaves_everything_as_it_was(bad, where, backend):
    p, same = draw(0, 1000), draw(0, 1000)
    optimizer = Optimizer(p, "adam", backend=backend, skip_nonfinite=True)
    twin = Optimizer(same, "adam", backend=backend)
    optimizer.step(draw(1, 1000))
    twin.step(draw(1, 1000))
    g = draw(2, 1000)
    g[where] = bad
    optimizer.step(g)
    assert (optimizer.steps, optimizer.skipped) == (1, 1)
    assert bits(p, *optimizer.state.values()) == bits(same, *twin.state.values())
    optimizer.step(draw(3, 1000))
    twin.step(draw(3, 1000))
    assert (optimizer.steps, optimizer.skipped) == (2, 1)
    assert bits(p, *optimizer.state.values()) == bits(same, *twin.state.values())


def test_a_skipped_gradient_is_set_to_zero_with_zero_grad(backend):
    g = np.array([1.0, np.nan])
    Optimizer(np.zeros(2), "sgd", backend=backend, skip_nonfinite=True, zero_grad=True).step(g)
    assert bits(g) == bits(np.zeros(2))


@pytest.mark.parametrize("clip_value", [None, 0.5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_nan_shows_in_its_own_parameter_and_nowhere_else(name, dtype, clip_value, backend):
    p, clean, g = draw(0, 1000, dtype), draw(0, 1000, dtype), draw(1, 1000, dtype)
    Optimizer(clean, name, backend=backend, clip_value=clip_value).step(g)
    g[123] = np.nan
    Optimizer(p, name, backend=backend, clip_value=clip_value).step(g)
    if RULES[name].schedule.per_segment and RULES[name].vectors is None:  # a norm that is NaN concerns every element
        assert np.isnan(p).all()
        return
    assert np.flatnonzero(np.isnan(p)).tolist() == [123]
    p[123] = clean[123]
    assert bits(p) == bits(clean)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_lr_and_lr_scale_act_from_the_next_step(name, backend):
    optimizer = Optimizer(draw(0, 100), name, backend=backend, **HYPER[name])
    step_and_compare(optimizer, draw(1, 100))
    optimizer.lr = 0.2
    assert optimizer.lr == optimizer.hyper["lr"] == 0.2
    step_and_compare(optimizer, draw(2, 100))
    optimizer.lr_scale = 0.25
    step_and_compare(optimizer, draw(3, 100), lr_scale=0.25)
    assert optimizer.lr == 0.2


@pytest.mark.parametrize("name", RULES)
def test_a_loaded_state_continues_with_the_same_bits(name, backend):
    first = Optimizer(draw(0, 100), name, backend=backend, **HYPER[name])
    first.lr_scale = 0.5
    for t in range(3):
        first.step(draw(t, 100))
    second = Optimizer(first.parameters.copy(), name, backend=backend)
    second.load_state_dict(first.state_dict())
    assert (second.steps, second.lr_scale, second.hyper) == (3, 0.5, first.hyper)
    for t in range(3):
        first.step(draw(t, 100))
        second.step(draw(t, 100))
    assert bits(*contents(first).values()) == bits(*contents(second).values())


def test_loading_copies_and_keeps_what_a_group_says_of_its_own(backend):
    layout = Layout({"w": (3,), "b": (2,)}, groups={"b": "bias"})
    options = {"layout": layout, "groups": {"bias": {"weight_decay": 0.0}}, "backend": backend}
    first = Optimizer(draw(0, 5), "adam", weight_decay=0.25, **options)
    first.step(draw(1, 5))
    second = Optimizer(first.parameters.copy(), "adam", weight_decay=0.5, **options)
    second.load_state_dict(first.state_dict())
    for optimizer in (first, second):
        optimizer.step(draw(2, 5))
    assert bits(*contents(first).values()) == bits(*contents(second).values())
    assert not np.shares_memory(first.state["exp_avg"], second.state["exp_avg"])
