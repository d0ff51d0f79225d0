"""Random order that never changes: raw draws of Philox, and integer arithmetic.

NumPy guarantees the raw bits of a bit generator; ``Generator.shuffle`` and the like may change between its versions.
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import NDArray

__all__ = ["permutation", "with_replacement"]


def permutation(n: int, *, seed: int, stream: int) -> NDArray[np.int64]:
    """Return 0..n-1 in random order, a function of only `n`, `seed` and `stream`.

    Parameters
    ----------
    n
        The number of elements.
    seed, stream
        The two 64-bit words of the Philox key: the run's seed, and the number of the sequence, such as the epoch.

    Raises
    ------
    ValueError
        `seed` or `stream` is not in [0, 2**64), or `n` is negative.

    Examples
    --------
    >>> permutation(5, seed=0, stream=0)
    array([0, 2, 1, 4, 3])
    """
    return np.argsort(_raw(n, seed, stream), kind="stable").astype(np.int64, copy=False)


def with_replacement(n: int, size: int, *, seed: int, stream: int) -> NDArray[np.int64]:
    """Return `size` random indices in [0, n), a function of only the arguments.

    Each index is the high 32 bits of a draw times n / 2**32, rounded down: the probabilities of two indices differ by
    at most 2**-32.

    Raises
    ------
    ValueError
        `n` is not in [1, 2**32), `size` is negative, or `seed` or `stream` is not in [0, 2**64).

    Examples
    --------
    >>> with_replacement(3, 5, seed=0, stream=0)
    array([0, 0, 0, 1, 1])
    """
    if not 1 <= n < 1 << 32:
        raise ValueError(f"n: got {n}, expected at least 1 and less than 2**32")
    high = _raw(size, seed, stream) >> np.uint64(32)
    return ((high * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def _raw(count: int, seed: int, stream: int) -> NDArray[np.uint64]:
    if count < 0:
        raise ValueError(f"got {count} draws, expected a count that is not negative")
    words = {"seed": operator.index(seed), "stream": operator.index(stream)}
    for name, word in words.items():
        if not 0 <= word < 1 << 64:
            raise ValueError(f"{name}: got {word}, expected an integer in [0, 2**64)")
    key = np.array(list(words.values()), dtype=np.uint64)
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)
