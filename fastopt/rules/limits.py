"""Limits of the gradient's norm, as a first stage in front of any rule's own.

The norm of each segment is limited first, then the norm of everything: PyTorch's formula, min(1, limit/(norm + 1e-6)).
A limit of 0 is none. A norm that is NaN stays NaN.
"""

from copy import copy
from dataclasses import replace
from math import sqrt

from .numbers import number_of
from .rule import Rule
from .stages import sweep_of
from .vocabulary import where

__all__ = ["GRADIENT_FACTOR", "GRADIENT_NORM", "is_limited", "with_limits"]

_EPS = 1e-6


def measure_gradient(g):
    """Σ g²"""
    return (g, g)


def gradient_norm(scale, gradient_squares):
    return abs(scale) * sqrt(gradient_squares)


def segment_factor(gradient_norm, max_segment_norm):
    factor = max_segment_norm / (gradient_norm + _EPS)
    return where(max_segment_norm > 0.0, where(factor > 1.0, 1.0, factor), 1.0)


def limited_squares(gradient_norm, segment_factor):
    limited = gradient_norm * segment_factor
    return limited * limited


def gradient_factor(scale, segment_factor, total_limited_squares, max_norm):
    factor = max_norm / (sqrt(total_limited_squares) + _EPS)
    return scale * (segment_factor * where(max_norm > 0.0, where(factor > 1.0, 1.0, factor), 1.0))


GRADIENT_FACTOR = gradient_factor.__name__
"""The number that sweeps multiply the gradient by, in the place of the bare scale."""

GRADIENT_NORM = gradient_norm.__name__
"""The norm of a segment's gradient, before it is limited."""

_MEASURE = replace(sweep_of(measure_gradient.__name__, measure_gradient, ("gradient_squares",), ()), has_prelude=False)
_NUMBERS = tuple(
    number_of("limits", function) for function in (gradient_norm, segment_factor, limited_squares, gradient_factor)
)


def with_limits(rule: Rule) -> Rule:
    """Return the rule with a first stage that measures the gradient, and numbers that limit its norm.

    They take the coefficients `scale`, `max_norm` and `max_segment_norm`.
    """
    limited = copy(rule)
    limited.stages, limited.numbers = (_MEASURE, *rule.stages), (*_NUMBERS, *rule.numbers)
    limited.__dict__.pop("schedule", None)
    return limited


def is_limited(rule: Rule) -> bool:
    """Return whether :func:`with_limits` made it."""
    return rule.stages[0] is _MEASURE
