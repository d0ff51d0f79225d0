"""A rule in a user's own file is a first-class rule."""

import importlib.util
import math

import numpy as np
import pytest
from conftest import bits, draw, needs, needs_compiler

import fastopt
from fastopt import Optimizer, fma, rule, where
from fastopt.backends import default_backend, why_missing

own_backends = pytest.mark.parametrize(
    "own",
    [pytest.param("numba", marks=needs("numba")), pytest.param("c", marks=[needs("c"), needs_compiler]), "reference"],
)

HEADER = "import math\n\nimport fastopt\nfrom fastopt import clip, fma, rule, where\n\n"
HEAVY_BALL = """\
@rule
def heavy_ball(p, g, velocity, *, lr=0.01, beta=0.9):
    "v = βv + g;  p −= ηv"
    velocity = fma(beta, velocity, g)
    return fma(-lr, velocity, p), velocity
"""
RPROP_LIKE = """\
@rule
def rprop_like(p, g, last, *, lr=0.01, boost=2.0):
    "p −= η·g, times the boost where the sign of g stayed"
    factor = where(g * last > last - last, boost, boost / boost)
    return fma(-lr * factor, g, p), g
"""
THROUGH_MODULES = """\
@rule
def through_modules(p, g, *, lr=0.01, low=0.25, high=1.0):
    "p −= η·clip(√|g|, low, high) where g > low"
    root = fastopt.clip(math.sqrt(abs(g)), low, high)
    return fastopt.where(g > low, fastopt.fma(-lr, root, p), p)
"""


def load(folder, source, module="own_rules"):
    """Import `source` as a user's file and return the module."""
    path = folder / f"{module}.py"
    path.write_text(HEADER + source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@own_backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_five_lines_make_an_optimizer(own, dtype, tmp_path):
    heavy_ball = load(tmp_path, HEAVY_BALL).heavy_ball
    assert heavy_ball.hyper == {"lr": 0.01, "beta": 0.9, "weight_decay": 0.0}
    p, g = np.array([1.0, -2.0], dtype), np.array([0.5, 4.0], dtype)
    optimizer = Optimizer(p, heavy_ball, backend=own, lr=0.5, beta=0.75)
    optimizer.step(g)
    assert p.tolist() == [0.75, -4.0]
    optimizer.step(g)
    assert optimizer.state["velocity"].tolist() == [0.875, 7.0]
    assert p.tolist() == [0.3125, -7.5]


@own_backends
def test_a_branch_with_where(own, tmp_path):
    p = np.zeros(4)
    optimizer = Optimizer(p, load(tmp_path, RPROP_LIKE).rprop_like, backend=own, lr=0.5)
    optimizer.step(np.array([1.0, 1.0, -1.0, -1.0]))
    assert p.tolist() == [-0.5, -0.5, 0.5, 0.5]
    optimizer.step(np.array([1.0, -1.0, 1.0, -1.0]))
    assert p.tolist() == [-1.5, 0.0, 0.0, 1.5]


@own_backends
def test_names_through_their_modules(own, tmp_path):
    p, g = draw(0, 1000, "float64"), draw(1, 1000, "float64")
    expected = np.where(g > 0.25, p - 0.5 * np.clip(np.sqrt(abs(g)), 0.25, 1.0), p)
    Optimizer(p, load(tmp_path, THROUGH_MODULES).through_modules, backend=own, lr=0.5).step(g)
    np.testing.assert_allclose(p, expected, rtol=1e-14, atol=1e-15)


@needs("numba")
@pytest.mark.parametrize("size", [1000, 40_000])
@pytest.mark.parametrize(("source", "name"), [(HEAVY_BALL, "heavy_ball"), (RPROP_LIKE, "rprop_like")])
def test_numba_agrees_with_the_reference(source, name, size, tmp_path):
    own = getattr(load(tmp_path, source), name)
    fast, slow = draw(0, size, "float64"), draw(0, size, "float64")
    for p, backend in ((fast, "numba"), (slow, "reference")):
        optimizer = Optimizer(p, own, backend=backend, weight_decay=0.25, threads=2)
        for t in range(5):
            optimizer.step(draw(t, size, "float64"))
    np.testing.assert_allclose(fast, slow, rtol=1e-13, atol=1e-14)


@own_backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("fma(-lr, g, 0.1 * p)", lambda p, g, lr, real: real(0.1) * p - lr * g),
        ("p - lr * g * 2", lambda p, g, lr, real: p - lr * g * real(2)),
        (
            "fma(-lr, where(g > 0.3, 1.0, -0.7), p)",
            lambda p, g, lr, real: p - lr * np.where(g > real(0.3), 1, real(-0.7)),
        ),
        ("p - lr * THIRD * g", lambda p, g, lr, real: p - lr * real(1 / 3) * g),
        ("p - lr * half(g)", lambda p, g, lr, real: p - lr * (g * real(0.5))),
    ],
)
def test_a_literal_takes_the_dtype_of_the_buffers(body, expected, dtype, own, tmp_path):
    source = "THIRD = 1 / 3\n\n\ndef half(x):\n    return 0.5 * x\n\n\n"
    literal = load(tmp_path, f"{source}@rule\ndef literal(p, g, *, lr=0.25):\n    return {body}\n").literal
    p, g, real = draw(0, 1000, dtype), draw(1, 1000, dtype), np.dtype(dtype).type
    wanted = expected(p.copy(), g, real(0.25), real)
    assert wanted.dtype == dtype
    Optimizer(p, literal, backend=own).step(g)
    np.testing.assert_allclose(p, wanted, rtol=2 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@needs_compiler
@pytest.mark.parametrize("body", ["fma(-lr, g, 0.1 * p)", "p - lr * g * 2.7", "fma(-lr, g * 1e-9, p)"])
def test_a_literal_has_the_dtype_of_the_buffers(compiled, body, tmp_path):
    literal = load(tmp_path, f"@rule\ndef literal(p, g, *, lr=1.0):\n    return {body}\n").literal
    p, g = draw(0, 1000), draw(1, 1000)
    q, real = p.copy(), np.float32
    exact = {"fma": lambda a, b, c: (np.float64(a) * b + c).astype(real), "lr": real(1), "p": p, "g": g}
    for number in ("0.1", "2.7", "1e-9"):
        body = body.replace(number, f"real({number})")
    expected = eval(body, exact | {"real": real})
    Optimizer(q, literal, backend=compiled).step(g)
    assert bits(q) == bits(expected)


@needs("numba")
def test_a_call_that_is_no_word_of_the_vocabulary_is_refused(tmp_path):
    own = load(tmp_path, "@rule\ndef erratic(p, g, *, lr=0.1):\n    return fma(-lr, unheard_of(g), p)\n").erratic
    with pytest.raises(TypeError, match=r"erratic does not compile.*call math\.sqrt, abs, fma"):
        Optimizer(draw(0, 4), own, backend="numba")


def test_the_reference_asks_for_where_instead_of_a_branch(tmp_path):
    own = load(tmp_path, "@rule\ndef branch(p, g, *, lr=0.1):\n    return p - lr if g > p else p\n").branch
    with pytest.raises(ValueError, match=r"branch.*where\(condition, a, b\)"):
        Optimizer(draw(0, 4), own, backend="reference").step(draw(1, 4))


SIGNATURES = {
    "no gradient": lambda p, *, lr=0.1: p,
    "other names": lambda g, p, *, lr=0.1: p,
    "star arguments": lambda p, g, *states, lr=0.1: p,
    "star keywords": lambda p, g, **hyper: p,
    "positional only": lambda p, g, /, *, lr=0.1: p,
}


@pytest.mark.parametrize("case", SIGNATURES)
def test_a_wrong_signature_is_refused(case):
    with pytest.raises(TypeError, match=r"got the signature .* expected \(p, g, state, \.\.\., \*, coefficient"):
        rule(SIGNATURES[case])


COEFFICIENTS = {
    "no step": (lambda *, lr=0.1: {}, "expected \\(t, \\*, lr=...,"),
    "positional": (lambda t, lr=0.1: {}, "expected \\(t, \\*, lr=...,"),
    "no default": (lambda t, *, lr: {}, "lr has no default"),
    "weight_decay": (lambda t, *, lr=0.1, weight_decay=0.1: {}, "has weight_decay already"),
}


@pytest.mark.parametrize("case", COEFFICIENTS)
def test_a_wrong_coefficients_function_is_refused(case):
    @rule
    def own(p, g, *, step_size):
        return fma(-step_size, g, p)

    function, words = COEFFICIENTS[case]
    with pytest.raises(TypeError, match=rf"rule own: .*{words}"):
        own.coefficients(function)


def test_a_rule_without_lr_is_refused():
    @rule
    def own(p, g, *, rate=0.1):
        return fma(-rate, g, p)

    with pytest.raises(TypeError, match=r"rule own: got .*rate.* expected lr"):
        Optimizer(np.zeros(2), own, backend="reference")


@own_backends
def test_coefficients_computed_at_each_step(own, tmp_path):
    source = """
@rule
def decaying(p, g, *, step_size):
    return fma(-step_size, g, p)

@decaying.coefficients
def coefficients(t, *, lr=1.0):
    return {"step_size": lr / t}
"""
    p = np.zeros(1)
    optimizer = Optimizer(p, load(tmp_path, source).decaying, backend=own)
    for expected in (-1.0, -1.5, -1.75):
        optimizer.step(np.full(1, 1.0 if expected > -1.75 else 0.75))
        assert p[0] == expected


@own_backends
def test_the_name_of_a_built_in_rule_keeps_the_own_update(own, tmp_path):
    ascent = load(tmp_path, "@rule\ndef sgd(p, g, *, lr=1.0):\n    return fma(lr, g, p)\n").sgd
    p, q = np.zeros(2), np.zeros(2)
    Optimizer(p, ascent, backend=own).step(np.ones(2))
    Optimizer(q, "sgd", backend=own, lr=1.0).step(np.ones(2))
    assert (p.tolist(), q.tolist()) == ([1.0, 1.0], [-1.0, -1.0])


def make_rule(turn):
    """Return a rule of one name and signature whose body depends on `turn`: it must not meet its twin in a cache."""
    if turn == "ascend":

        @rule
        def twin(p, g, *, lr=1.0):
            return fma(lr, g, p)

        return twin

    @rule
    def twin(p, g, *, lr=1.0):
        return fma(-lr, g, p)

    return twin


@own_backends
def test_two_rules_of_one_name_in_one_file_are_two(own):
    up, down = np.zeros(2), np.zeros(2)
    Optimizer(up, make_rule("ascend"), backend=own).step(np.ones(2))
    Optimizer(down, make_rule("descend"), backend=own).step(np.ones(2))
    assert (up.tolist(), down.tolist()) == ([1.0, 1.0], [-1.0, -1.0])


def power_rule(halve):
    """Return a rule whose function holds a variable of the one that made it."""

    @rule
    def enclosed(p, g, *, lr=1.0):
        return where(halve, fma(-lr, g, p), p)

    return enclosed


@own_backends
@pytest.mark.parametrize("moves", [True, False])
def test_an_enclosed_variable_is_part_of_a_rule(own, moves):
    p = np.zeros(2)
    Optimizer(p, power_rule(moves), backend=own).step(np.ones(2))
    assert p.tolist() == [-float(moves)] * 2


@own_backends
def test_a_rule_that_was_edited_is_compiled_again(own, tmp_path):
    for sign, expected in (("-lr", -1.0), ("lr", 1.0)):
        edited = load(tmp_path, f"@rule\ndef edited(p, g, *, lr=1.0):\n    return fma({sign}, g, p)\n").edited
        p = np.zeros(2)
        Optimizer(p, edited, backend=own).step(np.ones(2))
        assert p.tolist() == [expected] * 2


def test_a_variant_has_its_own_name_and_defaults():
    adamw = fastopt.RULES["adamw"]
    assert (adamw.name, adamw.decay, adamw.hyper["weight_decay"]) == ("adamw", "decoupled", 1e-2)
    assert adamw.stages is fastopt.RULES["adam"].stages
    assert math.isclose(fastopt.RULES["adam"].hyper["weight_decay"], 0.0)


@pytest.mark.skipif(bool(why_missing("numba")), reason="asks for the default where Numba is there")
def test_a_rule_runs_on_the_default_backend(tmp_path):
    optimizer = Optimizer(np.zeros(2), load(tmp_path, HEAVY_BALL).heavy_ball)
    assert optimizer.backend == default_backend() == "numba"


def test_a_coefficient_that_nothing_gives_is_named():
    @rule
    def own(p, g, *, step_size):
        return fma(-step_size, g, p)

    own.coefficients(lambda t, *, lr=0.1: {"step": lr})
    with pytest.raises(TypeError, match=r"rule own: own takes 'step_size', expected one of .*step"):
        Optimizer(np.zeros(2), own, backend="reference")


def test_a_default_is_in_its_own_range():
    @rule
    def own(p, g, *, lr=0.1, alpha=5.0, beta=-1.0):
        return fma(-lr * alpha * beta, g, p)

    p = np.zeros(2)
    Optimizer(p, own, backend="reference", alpha=5.0, beta=-2.0).step(np.ones(2))
    assert p.tolist() == [1.0, 1.0]


def test_hyper_parameters_have_a_namespace_of_their_own():
    @rule
    def own(p, g, *, lr=0.5, clip_value=2.0, threads=3.0):
        return fma(-lr, g * clip_value * threads, p)

    p = np.zeros(2)
    optimizer = Optimizer(p, own(clip_value=4.0, lr=0.25), backend="reference", clip_value=0.5, threads=1)
    optimizer.step(np.array([0.25, 1.0]))
    assert p.tolist() == [-0.75, -1.5]
    assert optimizer.hyper == {"lr": 0.25, "clip_value": 4.0, "threads": 3.0, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=r"unknown hyper-parameter of own 'clip'"):
        own(clip=1.0)
