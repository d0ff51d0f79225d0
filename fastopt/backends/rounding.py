"""Rounding from float32 to bfloat16, to nearest or at random; in NumPy, as all backends do it.

A bfloat16 is the upper half of a float32. Rounding adds a number to the 32 bits, and cuts the lower half off. To
nearest, that number is 0x7FFF plus the last bit that stays, so that ties go to even; at random, it is 16 random bits,
which make it round up as often as the number is near the upper of its two neighbours. What bfloat16 can hold is kept
either way. A NaN, which is quiet where arithmetic gives it, keeps its upper half. A number beyond the largest bfloat16
has Inf as its upper neighbour, in the place of 2¹²⁸.

The random bits of an element are a hash of the seed, the step, the name of the buffer and the position in it (modulo
2³²). They depend on nothing else: no thread, backend, or cut of the buffer changes them. Of seed and step a key of 48
bits is made on the host, which passes take as two numbers of 24 bits, since a float32 holds these exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .._constants import MIX_FIRST, MIX_SECOND

__all__ = ["key_of", "random_bits", "rounded", "salt_of"]

_MASK_64, _KEY_BITS = (1 << 64) - 1, 24
_Words = NDArray[np.uint32]


def key_of(seed: int, step: int) -> tuple[int, int]:
    """Return the key of a step, of two numbers below 2²⁴.

    Examples
    --------
    >>> key_of(0, 1) == key_of(0, 1), key_of(0, 1) == key_of(0, 2), key_of(0, 1) == key_of(1, 1)
    (True, False, False)
    """
    key = _split_mix(_split_mix(seed) + step)
    return key & ((1 << _KEY_BITS) - 1), key >> 64 - _KEY_BITS


def salt_of(buffer: str) -> int:
    """Return what tells a buffer's random numbers from those of others at the same step: the CRC-32 of its name."""
    return crc32(buffer.encode())


def random_bits(key: Sequence[float], salt: int, first: int, size: int) -> _Words:
    """Return the 16 random bits of so many elements from position `first` on."""
    with np.errstate(over="ignore"):
        low, high = (np.uint32(int(part)) for part in key)
        a, b = _mixed(low ^ np.uint32(salt)), _mixed(high + np.uint32(salt))
        x = (np.arange(first, first + size, dtype=np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32) ^ a
        x = (x ^ (x >> np.uint32(16))) * np.uint32(MIX_FIRST) + b
        x = (x ^ (x >> np.uint32(15))) * np.uint32(MIX_SECOND)
    return x >> np.uint32(16)


def rounded(values: NDArray[np.float32], random: _Words | None = None) -> NDArray[np.uint16]:
    """Return the bits of the numbers as bfloat16, to nearest, or by random bits.

    Examples
    --------
    >>> [hex(bits) for bits in rounded(np.array([1.0, 1.00390625, 1.01171875], "float32"))]
    ['0x3f80', '0x3f80', '0x3f82']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    added = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)) if random is None else random
    sums = np.where(np.isnan(values), bits, bits + added)
    return (sums >> np.uint32(16)).astype(np.uint16)


def _mixed(x: np.uint32) -> np.uint32:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(MIX_FIRST)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(MIX_SECOND)
    return x ^ (x >> np.uint32(16))


def _split_mix(x: int) -> int:
    """Return the next number of SplitMix64, whose state is x."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK_64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK_64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK_64
    return x ^ (x >> 31)
