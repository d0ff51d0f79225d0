"""What is refused, with which words; nothing is touched by a call that fails."""

import math
import re

import numpy as np
import pytest
from conftest import bits, contents, draw

from fastopt import Layout, Optimizer, get_rule

SIZE = 8


def read_only():
    array = draw(1, SIZE)
    array.flags.writeable = False
    return array


def misaligned():
    return np.zeros(4 * SIZE + 1, np.uint8)[1:].view(np.float32)


BUFFERS = {
    "bfloat16": (
        lambda: type("Tensor", (), {"dtype": "torch.bfloat16"})(),
        TypeError,
        "Tensor bfloat16 'cuda' float32",
    ),
    "integers": (lambda: np.zeros(SIZE, np.int64), TypeError, "int64 float32 .astype("),
    "half precision": (lambda: np.zeros(SIZE, np.float16), TypeError, "float16 float32 .astype("),
    "objects": (lambda: np.zeros(SIZE, object), TypeError, "object float32"),
    "complex": (lambda: np.zeros(SIZE, np.complex64), TypeError, "complex64 float32"),
    "byte-swapped": (lambda: np.zeros(SIZE, np.dtype(np.float32).newbyteorder()), TypeError, "f4 float32 .astype("),
    "a list": (lambda: [0.0] * SIZE, TypeError, "list NumPy array"),
    "None": (lambda: None, TypeError, "NoneType NumPy array"),
    "a float": (lambda: 1.0, TypeError, "float NumPy array"),
    "two dimensions": (lambda: np.zeros((2, SIZE // 2), np.float32), ValueError, "(2, 4) one dimension reshape(-1)"),
    "no dimension": (lambda: np.zeros((), np.float32), ValueError, "() one dimension"),
    "strided": (lambda: np.zeros(2 * SIZE, np.float32)[::2], ValueError, "strided 8 bytes contiguous"),
    "reversed": (lambda: np.zeros(SIZE, np.float32)[::-1], ValueError, "strided -4 bytes contiguous"),
    "misaligned": (misaligned, ValueError, "aligned 4 bytes"),
}
ONLY_GRADIENTS = {
    "the other dtype": (lambda: np.zeros(SIZE), TypeError, "gradients float64 expected float32"),
    "too few": (lambda: draw(1, SIZE - 1), ValueError, "gradients 7 expected 8"),
    "too many": (lambda: draw(1, SIZE + 1), ValueError, "gradients 9 expected 8"),
    "none": (lambda: draw(1, 0), ValueError, "gradients 0 expected 8"),
}


def contains(words):
    """Return a pattern that wants all the words, in any order."""
    return "(?s)" + "".join(f"(?=.*{re.escape(word)})" for word in words.split())


@pytest.fixture
def optimizer():
    """An optimizer that has taken one step on its own buffers."""
    optimizer = Optimizer(draw(0, 2 * SIZE)[:SIZE], "adam", backend="reference")
    optimizer.step(draw(1, SIZE))
    return optimizer


def assert_refused_untouched(optimizer, call, exception, words):
    before, steps = contents(optimizer), (optimizer.steps, optimizer.skipped, optimizer.hyper, optimizer.lr_scale)
    with pytest.raises(exception, match=contains(words)):
        call()
    assert bits(*contents(optimizer).values()) == bits(*before.values())
    assert (optimizer.steps, optimizer.skipped, optimizer.hyper, optimizer.lr_scale) == steps
    optimizer.step(draw(2, SIZE))
    assert optimizer.steps == steps[0] + 1


@pytest.mark.parametrize("case", BUFFERS)
def test_parameters_that_cannot_be_updated_in_place_are_refused(case):
    make, exception, words = BUFFERS[case]
    with pytest.raises(exception, match=contains(f"parameters {words}")):
        Optimizer(make(), "sgd", backend="reference")


def test_parameters_that_are_read_only_are_refused():
    with pytest.raises(ValueError, match=contains("parameters read-only writable")):
        Optimizer(read_only(), "sgd", backend="reference")


@pytest.mark.parametrize("limits", [{}, {"max_norm": 0.5}, {"skip_nonfinite": True}])
def test_gradients_may_be_read_only_unless_they_are_set_to_zero(backend, limits):
    mine, expected = (Optimizer(draw(0, SIZE), "sgd", backend=backend, **limits) for _ in range(2))
    mine.step(gradients := read_only())
    expected.step(draw(1, SIZE))
    assert bits(mine.parameters) == bits(expected.parameters)
    mine.zero_grad = True
    assert_refused_untouched(mine, lambda: mine.step(gradients), ValueError, "gradients read-only writable")


@pytest.mark.parametrize("case", BUFFERS | ONLY_GRADIENTS)
def test_gradients_that_do_not_fit_are_refused(case, optimizer):
    make, exception, words = (BUFFERS | ONLY_GRADIENTS)[case]
    assert_refused_untouched(optimizer, lambda: optimizer.step(make()), exception, f"gradients {words}")


OVERLAPS = {
    "the parameters": (lambda o: o.parameters, "gradients parameters overlap"),
    "their end": (lambda o: o.parameters.base[1 : SIZE + 1], "gradients parameters overlap"),
    "a state": (lambda o: o.state["exp_avg_sq"], "gradients exp_avg_sq overlap"),
    "a view of a state": (lambda o: o.state["exp_avg"][:], "gradients exp_avg overlap"),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_gradients_that_overlap_are_refused(case, optimizer):
    make, words = OVERLAPS[case]
    assert_refused_untouched(optimizer, lambda: optimizer.step(make(optimizer)), ValueError, words)


def test_gradients_beside_the_parameters_are_no_overlap(optimizer):
    optimizer.step(optimizer.parameters.base[SIZE:])
    assert optimizer.steps == 2


@pytest.mark.parametrize("grad_scale", [math.nan, math.inf, -math.inf])
def test_a_grad_scale_that_is_not_finite_is_refused(grad_scale, optimizer):
    call = lambda: optimizer.step(draw(1, SIZE), grad_scale=grad_scale)  # noqa: E731 - one line of a table
    assert_refused_untouched(optimizer, call, ValueError, f"grad_scale {grad_scale} finite")


def saved(optimizer, **changes):
    return optimizer.state_dict() | changes


LOADS = {
    "another rule": (lambda o: saved(o, rule="sgd"), ValueError, "sgd adam"),
    "other states": (lambda o: saved(o, state={"sum": o.parameters}), ValueError, "sum exp_avg exp_avg_sq"),
    "wrong size": (
        lambda o: saved(o, state={"exp_avg": draw(0, SIZE), "exp_avg_sq": draw(0, SIZE - 1)}),
        ValueError,
        "exp_avg_sq (7,) (8,)",
    ),
    "wrong dtype": (
        lambda o: saved(o, state={"exp_avg": draw(0, SIZE), "exp_avg_sq": draw(0, SIZE, "float64")}),
        ValueError,
        "exp_avg_sq float64 float32",
    ),
    "wrong hyper-parameter": (lambda o: saved(o, hyper={"lr": -1.0}), ValueError, "lr -1.0 negative"),
    "no step count": (lambda o: {k: v for k, v in saved(o).items() if k != "step"}, (KeyError, ValueError), "step"),
}


@pytest.mark.parametrize("case", LOADS)
def test_a_state_that_does_not_fit_is_refused(case, optimizer):
    make, exception, words = LOADS[case]
    other = Optimizer(draw(7, SIZE), "adam", backend="reference", lr=0.5)
    state = make(other)
    assert_refused_untouched(optimizer, lambda: optimizer.load_state_dict(state), exception, words)


@pytest.mark.parametrize("lr", [-1.0, math.nan, math.inf, "fast", None, (0.1, 0.2)])
def test_a_wrong_lr_is_not_set(lr, optimizer):
    assert_refused_untouched(optimizer, lambda: setattr(optimizer, "lr", lr), (TypeError, ValueError), "adam lr")


ARGUMENTS = {
    "unknown rule": ({"rule": "adm"}, ValueError, "rule 'adm' mean 'adam'"),
    "rule that nothing is near": ({"rule": "zzzz"}, ValueError, "rule 'zzzz' known adam sgd"),
    "unknown backend": ({"backend": "nunba"}, ValueError, "backend 'nunba' mean 'numba'"),
    "unknown hyper-parameter": ({"bets": 0.9}, ValueError, "adam 'bets' mean 'betas'"),
    "hyper-parameter of another rule": ({"momentum": 0.9}, ValueError, "adam 'momentum' known betas"),
    "negative lr": ({"lr": -0.1}, ValueError, "lr=-0.1 negative"),
    "lr nan": ({"lr": math.nan}, ValueError, "lr=nan finite"),
    "lr inf": ({"lr": math.inf}, ValueError, "lr=inf finite"),
    "lr a pair": ({"lr": (0.1, 0.2)}, TypeError, "lr=(0.1, 0.2) one number"),
    "lr a text": ({"lr": "0.1"}, TypeError, "lr='0.1' number"),
    "lr an array": ({"lr": np.ones(2)}, TypeError, "lr number"),
    "lr None": ({"lr": None}, TypeError, "lr=None number"),
    "negative eps": ({"eps": -1e-8}, ValueError, "eps negative"),
    "negative decay": ({"weight_decay": -0.1}, ValueError, "weight_decay negative"),
    "betas a number": ({"betas": 0.9}, TypeError, "betas=0.9 2 numbers (0.9, 0.999)"),
    "three betas": ({"betas": (0.9, 0.9, 0.9)}, TypeError, "betas 2 numbers"),
    "beta of one": ({"betas": (0.9, 1.0)}, ValueError, "betas=(0.9, 1.0) [0, 1)"),
    "beta negative": ({"betas": (-0.1, 0.9)}, ValueError, "betas=(-0.1, 0.9) [0, 1)"),
    "beta nan": ({"betas": (0.9, math.nan)}, ValueError, "betas finite"),
    "momentum of one": ({"rule": "momentum", "momentum": 1.0}, ValueError, "momentum=1.0 [0, 1)"),
    "alpha of one": ({"rule": "rmsprop", "alpha": 1}, ValueError, "alpha=1 [0, 1)"),
    "no threads": ({"threads": 0}, ValueError, "threads 0"),
    "half a thread": ({"threads": 1.5}, TypeError, "threads 1.5 whole"),
    "negative threads": ({"threads": -1}, ValueError, "threads -1"),
    **{
        f"{name} {value}": ({name: value}, ValueError, f"{name} {value} positive finite None")
        for name in ("clip_value", "max_norm", "max_segment_norm")
        for value in (0, -1.0, math.nan, math.inf)
    },
    "unknown group": ({"groups": {"bais": {}}}, ValueError, "group 'bais' mean 'bias'"),
    "wrong value in a group": ({"groups": {"bias": {"lr": -1.0}}}, ValueError, "lr=-1.0 negative"),
    "unknown name in a group": ({"groups": {"bias": {"lrr": 1.0}}}, ValueError, "'lrr' mean 'lr'"),
    "layout too large": ({"layout": Layout({"w": (SIZE + 1,)})}, ValueError, "layout 9 8"),
    "layout too small": ({"layout": Layout({"w": (SIZE - 1,)})}, ValueError, "layout 7 8"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_arguments_are_refused(case):
    arguments, exception, words = ARGUMENTS[case]
    p = draw(0, SIZE)
    layout = Layout({"w": (SIZE - 2,), "b": (2,)}, groups={"b": "bias"})
    with pytest.raises(exception, match=contains(words)):
        Optimizer(p, **{"rule": "adam", "backend": "reference", "layout": layout, **arguments})
    assert bits(p) == bits(draw(0, SIZE))


def test_an_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=contains("rule 'rmsprob' mean 'rmsprop'")):
        get_rule("rmsprob")
