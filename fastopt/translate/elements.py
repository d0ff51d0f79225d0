"""Activations and losses as C: the loops over their scalar functions for one dtype, and the tables of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from ..elements import IN_DTYPE, Activation, ElementLoss, Loss, add_exponent, exp
from ..rules import vocabulary
from .functions import Functions

__all__ = ["elements_source", "elements_table"]

_HEADER = "/* Generated from the Python functions of fastopt/elements; see fastopt/translate. */\n\n"
_WORDS: dict[Callable[..., Any], str] = {
    add_exponent: "NAMED(add_exponent)",
    math.copysign: "COPYSIGN",
    math.log1p: "log1p",
    vocabulary.where: "NAMED(select)",
}
_ACTIVATION = """\
TARGET static void NAMED(activate_{name})(size_t n, const REAL *z, REAL *restrict a)
{{
    (void)z;
    for (size_t j = 0; j < n; ++j)
        a[j] = {value};
}}
TARGET static void NAMED(derive_{name})(size_t n, const REAL *restrict z, const REAL *restrict a, REAL at_zero,
                                        REAL *restrict d)
{{
    (void)z, (void)a, (void)at_zero;
    for (size_t j = 0; j < n; ++j)
        d[j] *= {slope};
}}
"""
_LOSS = """\
/* `y` is NULL where the target is one-hot, at `label`. */
TARGET static double NAMED(lose_{name})(size_t n, const REAL *restrict z, const REAL *restrict y, int64_t label,
                                        double share, REAL *restrict d, int64_t *correct)
{{
    const REAL part = (REAL)share;
    double total = 0;

    (void)label;
{shared}
    for (size_t j = 0; j < n; ++j)
        total += {value};
    for (size_t j = 0; j < n; ++j)
        d[j] = {slope} * part;
    *correct += {correct};
    return total / (double)n;
}}
"""
_TARGET = "(y ? y[j] : (REAL)(j == (size_t)label))"


def elements_source(activations: Iterable[Activation], losses: Iterable[Loss], dtype: str) -> str:
    """Return the loops, to be included once for each vector width where the names are those of the dtype.

    In a place of float32 the functions of float64 are there already: losses are computed in float64.
    """
    functions, in_float64 = Functions(_words(dtype)), Functions(_words("float64"))
    if dtype == "float64":
        in_float64 = functions
    parts = [_activation(functions, activation) for activation in activations]
    parts += [_loss(functions, in_float64, loss) for loss in losses if isinstance(loss, ElementLoss)]
    parts.append(f"#undef EXP\n#define EXP NAMED({functions.add(IN_DTYPE[dtype][exp])})\n")
    return _HEADER + "\n".join((*functions.text, *parts))


def elements_table(activations: Iterable[Activation], losses: Iterable[Loss]) -> str:
    """Return the lines of both tables, which the macros ``ACTIVATION`` and ``LOSS`` pick from."""
    lines = [f"ACTIVATION({a.name}, {a.sides[0]!r}, {a.sides[1]!r}, {int(a.keeps_input)})\n" for a in activations]
    lines += [f"LOSS({loss.name}, {_targets(loss)})\n" for loss in losses]
    return _HEADER + "".join(lines)


def _words(dtype: str) -> dict[Callable[..., Any], Callable[..., Any] | str]:
    return {**_WORDS, **IN_DTYPE[dtype]}


def _targets(loss: Loss) -> str:
    if not isinstance(loss, ElementLoss):
        return "OF_LABELS"
    return "OF_PROBABILITIES" if loss.probabilities else "OF_VALUES"


def _activation(functions: Functions, activation: Activation) -> str:
    value, slope = functions.add(activation.value), functions.add(activation.slope)
    text = _ACTIVATION.format(
        name=activation.name,
        value=f"NAMED({value})({'z' if activation.keeps_input else 'a'}[j])",
        slope=f"NAMED({slope})({_arguments(activation.slope, z='z[j]', a='a[j]', at_zero='at_zero')})",
    )
    return text.replace("const REAL *z,", "const REAL *restrict z,") if activation.keeps_input else text


def _loss(functions: Functions, in_float64: Functions, loss: ElementLoss) -> str:
    shared, given = loss.intermediate, {"z": "z[j]", "y": _TARGET}
    first = ""
    if shared:
        call = f"NAMED({functions.add(shared)})({_arguments(shared, **given)})"
        first = f"    for (size_t j = 0; j < n; ++j)\n        d[j] = {call};"
        given[shared.__name__] = "d[j]"
    wide = {name: f"(double){place}" for name, place in given.items()}
    return _LOSS.format(
        name=loss.name,
        shared=first,
        value=f"IN_FLOAT64({in_float64.add(loss.value)})({_arguments(loss.value, **wide)})",
        slope=f"NAMED({functions.add(loss.slope)})({_arguments(loss.slope, **given)})",
        correct="NAMED(agrees)(n, z, y)" if loss.probabilities else "!y && NAMED(largest)(n, z) == (size_t)label",
    )


def _arguments(function: Callable[..., Any], **given: str) -> str:
    return ", ".join(given[name] for name in inspect.signature(function).parameters)
