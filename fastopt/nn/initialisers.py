"""Initial weights: uniform in [−bound, bound), the same for one seed on every machine and with every version of NumPy.

NumPy may change what its distributions draw, but not the raw words of a bit generator; so these are drawn, and
converted to numbers here. The generator is Philox with the key (seed, 0), so that other keys of the same seed are free.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name

__all__ = ["INITIALISERS", "check_seed", "draw_uniform", "get_initialiser"]

Initialiser = Callable[[int, int], float]


def he(fan_in: int, fan_out: int) -> float:
    """Return √(6/fan_in): He et al., 2015, for relu."""
    return math.sqrt(6.0 / fan_in)


def glorot(fan_in: int, fan_out: int) -> float:
    """Return √(6/(fan_in+fan_out)): Glorot and Bengio, 2010, for tanh."""
    return math.sqrt(6.0 / (fan_in + fan_out))


def lecun(fan_in: int, fan_out: int) -> float:
    """Return √(3/fan_in): LeCun et al., 1998, for functions that are close to the identity near zero."""
    return math.sqrt(3.0 / fan_in)


INITIALISERS: dict[str, Initialiser] = {"glorot": glorot, "he": he, "lecun": lecun}
"""Name to the function ``(fan_in, fan_out) -> bound``."""


def get_initialiser(name: str) -> Initialiser:
    """Return the initialiser of that name.

    Raises
    ------
    ValueError
        There is none of that name; the message gives the nearest one.

    Examples
    --------
    >>> get_initialiser("he")(600, 10)
    0.1
    """
    if name not in INITIALISERS:
        raise unknown_name("initialiser", name, INITIALISERS)
    return INITIALISERS[name]


def check_seed(seed: object) -> int:
    """Return `seed` as an int.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        It is not in [0, 2⁶⁴).
    """
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"seed: got {seed!r}, expected an integer such as 0") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"seed: got {number}, expected an integer from 0 to 2**64 - 1")
    return number


def draw_uniform(bits: np.random.Philox, out: NDArray[Any], bound: float) -> None:
    """Fill `out` with (2·u − 1)·bound, u = (the top 53 bits of a word)/2⁵³, in float64 and cast once.

    Examples
    --------
    >>> out = np.empty(2)
    >>> draw_uniform(np.random.Philox(key=0), out, 1.0)
    >>> bool(np.all((-1 <= out) & (out < 1)))
    True
    """
    words = np.atleast_1d(bits.random_raw(out.size)) >> np.uint64(11)
    numbers = words.astype(np.float64) * 2.0**-53
    out[...] = ((2.0 * numbers - 1.0) * bound).reshape(out.shape)
