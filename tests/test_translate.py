"""Scalar functions in C: random ones have Numba's bits, and what cannot be translated is named with its place."""

import math
import random

import numpy as np
import pytest
from conftest import DTYPES, needs, needs_compiler, plain
from test_user_rule import load

import fastopt
from fastopt import RULES
from fastopt.backends import get_backend
from fastopt.translate import Functions, TranslationError

STATES = [f"s{k}" for k in range(10)]
NAMES = ["p", "g", *STATES, "a", "b"]


class Writer:
    """Writes random functions of the vocabulary; what it writes follows from the seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def number(self, depth):
        """Return an expression of that depth at most."""
        if depth == 0 or self.random.random() < 0.1:
            return self.random.choice([*NAMES, *NAMES, "SMALL", "2", "0.1", "-1.5", "1 / 3", "1e-3", "-0.0"])
        x, y, z = (self.number(depth - 1) for _ in range(3))
        forms = [
            *[f"({x} {operator} {y})" for operator in "+-*/"],
            *[f"-{x}", f"abs({x})", f"sqrt(abs({x}))", f"sign({x})", f"fma({x}, {y}, {z})", f"clip({x}, -1.5, {y})"],
            *[f"where({self.truth(depth - 1)}, {x}, {y})", f"({x} if {self.truth(depth - 1)} else {y})"],
            *[f"mean({x}, {y})", f"fma(-{x}, {y}, {z})"],
        ]
        return self.random.choice(forms)

    def truth(self, depth):
        x, y, z = (self.number(min(depth, 1)) for _ in range(3))
        comparison = f"{x} {self.random.choice(['<', '>', '<=', '>=', '==', '!='])} {y}"
        return self.random.choice(
            [comparison, f"{x} < {y} <= {z}", f"not ({comparison})", f"({comparison} or {x} > {z})"]
        )

    def rule(self):
        """Return the source of a rule whose every result is a random expression."""
        lines = [f"    p, s0 = both({self.number(2)}, {self.number(2)})"]
        lines += [f"    {name} = {self.number(4)}" for name in STATES[1:]]
        lines += [f"    {name} *= {self.number(2)}" for name in STATES[:3]]
        states = ", ".join(STATES)
        body = "\n".join([*lines, f"    return {self.number(3)}, {states}"])
        return f"{HELPERS}\n@rule\ndef written(p, g, {states}, *, a=0.3, b=-2.5):\n{body}\n"


HELPERS = """
from math import sqrt
from fastopt import sign

SMALL = 0.001

def mean(x, y):
    return 0.5 * (x + y)

def both(x, y):
    z: float = mean(x, y)
    return z, y - z
"""


def values(sweep, backend, dtype):
    """Return what a pass makes of numbers of many sizes, of zeros and of infinities; every NaN is the same one."""
    size, buffers = 3000, []
    for k, _ in enumerate(sweep.buffers):
        draw = np.random.default_rng(k)
        buffer = (draw.standard_normal(size) * 10.0 ** draw.integers(-4, 5, size)).astype(dtype)
        buffer[draw.integers(0, size, 90)] = np.repeat([0.0, -0.0, np.inf], 30)
        buffers.append(buffer)
    numbers = np.array([1.0, np.inf, 0.0, 1.0, 0.3, -2.5], dtype)
    get_backend(backend).kernel(sweep, plain(dtype), 1)(buffers, numbers)(False)
    for buffer in buffers:
        buffer[np.isnan(buffer)] = np.nan
    return np.array(buffers)


@needs("numba", "c")
@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(2))
def test_random_functions_have_the_bits_of_numba(seed, dtype, tmp_path):
    (sweep,) = load(tmp_path, Writer(seed).rule(), f"written_{seed}").written.stages
    numba, c = (values(sweep, backend, dtype) for backend in ("numba", "c"))
    assert np.isfinite(numba).mean() > 0.2
    differing = (numba.view(f"u{np.dtype(dtype).itemsize}") != c.view(f"u{np.dtype(dtype).itemsize}")).any(axis=1)
    assert not differing.any(), f"{np.array(sweep.buffers)[differing]} of\n{Writer(seed).rule()}"


REFUSED = {
    "a power": ("p - lr * g ** 2", r"g \*\* 2: .*write a product, x \* x for x \*\* 2"),
    "an unknown name": ("p - rate * g", "rate: there is nothing of that name"),
    "a function of no rule": ("p - lr * math.sin(g)", r"math\.sin\(g\): call math\.sqrt, abs, fma"),
    "a minimum": ("p - lr * min(g, p)", r"min\(g, p\): write where\(a < b, a, b\)"),
    "a comparison as a number": ("p - lr * (g > p)", "g > p: a comparison is no number; write where"),
    "a choice of numbers": ("p - (g or p)", "g or p: a comparison is no number"),
    "a string": ("p - len('g')", r"len\('g'\): call math\.sqrt"),
    "a method": ("p - g.real", "g.real: it has no counterpart"),
    "too few arguments": ("fma(-lr, g)", r"fma\(-lr, g\): missing a required argument: 'c'"),
    "spread arguments": ("fma(*(lr, g, p))", r"\*\(lr, g, p\).*: arguments with \* or \*\*"),
    "two numbers for one": ("(p, g)", r"\(p, g\): got 2 numbers, expected 1"),
    "a huge number": ("p - lr * 10 ** 400", r"10 \*\* 400: it is too large"),
    "recursion": ("endless(p)", r"endless\(x\): a function that calls itself"),
}
STATEMENTS = {
    "a branch": ("if g > p:\n        p = g\n    return p", r"line 9, own: g > p: there are no branches: write where"),
    "an early return": ("return p\n    return g", "line 9, own: return p: a function has one return"),
    "a loop": (
        "for k in range(3):\n        p = p * g\n    return p",
        "line 9, own: for k in range.*: only assignments",
    ),
    "no return": ("p = g", "line 9, own: p = g: a function ends with the return of its result"),
    "no value yet": ("q = q + g\n    return p - q", "line 9, own: q: it has no value here"),
    "two kinds": (
        "q = g\n    q = q > p\n    return where(q, g, p)",
        "line 10, own: q = q > p: q cannot be a number here",
    ),
}
ENDLESS = "def endless(x):\n    return endless(x)\n\n"


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_in_c_is_named(case, tmp_path):
    body, words = REFUSED[case]
    own = load(tmp_path, f"{ENDLESS}@rule\ndef own(p, g, *, lr=0.1):\n    return {body}\n").own
    with pytest.raises(TranslationError, match=rf"own_rules\.py, line \d+, \w+: .*{words}"):
        Functions().add(own.stages[0].update, ["p"])


@pytest.mark.parametrize("case", STATEMENTS)
def test_the_line_of_a_statement_is_named(case, tmp_path):
    body, words = STATEMENTS[case]
    own = load(tmp_path, f"\n@rule\ndef own(p, g, *, lr=0.1):\n    {body}\n").own
    with pytest.raises(TranslationError, match=rf"own_rules\.py, {words}"):
        Functions().add(own.stages[0].update, ["p"])


def test_a_function_without_a_file_is_refused():
    space = {}
    exec("def typed(p, g, *, lr=0.1):\n    return p - lr * g", space)
    with pytest.raises(
        TranslationError, match=r"<string>, line 1, typed: its source cannot be read.*; define it in a file"
    ):
        Functions().add(space["typed"])


def test_a_file_that_was_changed_since_is_refused(tmp_path):
    own = load(tmp_path, "@rule\ndef own(p, g, *, lr=0.1):\n    return p - lr * g\n").own
    path = tmp_path / "own_rules.py"
    path.write_text(path.read_text().replace("p - lr * g", "p + lr * g  # now"))
    with pytest.raises(
        TranslationError, match=r"own_rules\.py, line 6, own: its file was changed after it was imported"
    ):
        Functions().add(own.stages[0].update, ["p"])


NUMBERS = {
    "folded": (lambda x: x * 2**-3, "(x_ * (REAL)0.125)"),
    "floor": (lambda x: 7 // 2 + x, "((REAL)3.0 + x_)"),
    "negative": (lambda x: x - -0.5, "(x_ - (REAL)-0.5)"),
    "named": (lambda x: -math.pi * x, f"((REAL){-math.pi!r} * x_)"),
    "in the dtype": (lambda x: math.pi * math.tau + x, f"(((REAL){math.pi!r} * (REAL){math.tau!r}) + x_)"),
    "infinite": (lambda x: x + -math.inf, "(x_ + (REAL)-INFINITY)"),
    "not a number": (lambda x: x + math.nan, "(x_ + (REAL)NAN)"),
    "negated twice": (lambda x: -(-x), "-(-x_)"),  # noqa: B002
    "divided by zero": (lambda x: x + 1 / 0, "(x_ + ((REAL)1.0 / (REAL)0.0))"),
    "true": (lambda x: fastopt.where(True, x, -x), "(1 ? x_ : -x_)"),
    "a number as a condition": (lambda x: -x if x else x, "((x_ != 0) ? -x_ : x_)"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_and_conditions(case):
    functions = Functions()
    function, text = NUMBERS[case]
    name = functions.add(function)
    assert functions.text == [f"INLINE REAL NAMED({name})(REAL x_)\n{{\n    return {text};\n}}\n"]


def test_lambdas_of_one_line_are_told_apart():
    first, second, maker = lambda x: x + 1, lambda x: x * 3, lambda: lambda x: x / 5
    functions = Functions()
    for function in (second, maker(), first):
        functions.add(function)
    assert [text[-16:-5] for text in functions.text] == ["* (REAL)3.0", "/ (REAL)5.0", "+ (REAL)1.0"]


def test_a_function_is_written_once_and_after_those_that_it_calls():
    functions = Functions()
    names = [functions.add(rule.stages[0].update, rule.stages[0].writes) for rule in (RULES["adam"], RULES["adamw"])]
    assert names[0] == names[1]
    assert len(functions.text) == 1
