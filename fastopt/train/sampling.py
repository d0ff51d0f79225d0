"""Sampling: in which order the rows of an epoch are used, as a function of a seed and the epoch's number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name
from ..data import permutation, with_replacement

__all__ = ["SAMPLING", "Sampling", "get_sampling"]

Sampling = Callable[[int, int, int], NDArray[np.int64]]

SAMPLING: dict[str, Sampling] = {
    "random": lambda n, seed, epoch: with_replacement(n, n, seed=seed, stream=epoch + 1),
    "sequential": lambda n, seed, epoch: np.arange(n),
    "shuffle": lambda n, seed, epoch: permutation(n, seed=seed, stream=epoch + 1),
}
"""Name to a function ``(n, seed, epoch) -> rows``: drawn with replacement, in order, or each once in random order.

The initial weights are drawn from stream 0 of a seed, an epoch's rows from stream epoch + 1.
"""


def get_sampling(name: str) -> Sampling:
    """Return the sampling of that name.

    Raises
    ------
    ValueError
        The name is unknown; the message gives the nearest one.

    Examples
    --------
    >>> get_sampling("sequential")(4, 0, 0)
    array([0, 1, 2, 3])
    """
    if name not in SAMPLING:
        raise unknown_name("sampling", name, SAMPLING)
    return SAMPLING[name]
