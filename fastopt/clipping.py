"""Factors that limit the norm of a gradient: PyTorch's formula, for a whole buffer or for each segment."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["clip_factor", "clip_factors"]

_EPS = 1e-6


def clip_factor(norm: float, max_norm: float | None) -> float:
    """Return min(1, max_norm / (norm + 1e-6)); 1 when there is no limit, NaN when the norm is NaN.

    Examples
    --------
    >>> clip_factor(0.5, 1.0)
    1.0
    >>> round(clip_factor(4.0, 1.0), 5)
    0.25
    """
    if max_norm is None:
        return 1.0
    factor = max_norm / (norm + _EPS)
    return factor if math.isnan(factor) else min(1.0, factor)


def clip_factors(norms: Sequence[float], max_norm: float | None, max_segment_norm: float | None) -> list[float]:
    """Return one factor a segment: each segment is limited first, then all of them together.

    Parameters
    ----------
    norms
        The Euclidean norm of each segment's gradient.
    max_norm
        Limit of the norm of everything, after the segments were limited.
    max_segment_norm
        Limit of the norm of each segment.
    """
    factors = [clip_factor(norm, max_segment_norm) for norm in norms]
    squares = 0.0
    for norm, factor in zip(norms, factors, strict=True):
        limited = norm * factor
        squares += limited * limited  # one after the other, on a GPU too; Python's sum() adds otherwise since 3.12
    everything = clip_factor(math.sqrt(squares), max_norm)
    return [factor * everything for factor in factors]
