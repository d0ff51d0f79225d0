"""Constants that backends have in common, bits depend on most of them; C receives them generated."""

from __future__ import annotations

__all__ = [
    "CHUNK",
    "FEW_ROWS",
    "KEY_NUMBERS",
    "LANES",
    "MIX_FIRST",
    "MIX_SECOND",
    "MOST_ROWS",
    "MOST_STATES",
    "PARTS",
    "PARTS_FROM",
    "PARTS_TO",
    "chunk_count",
]

CHUNK, LANES = 16_384, 64
"""The order of sums over elements. These are cut into chunks; in a chunk, element i belongs to lane i mod `LANES`; each
lane is summed in order, then the lanes are added pairwise; then the chunks in order."""

PARTS = 4
"""Parts of a layer's inputs that may be summed apart, and are then added in order."""

PARTS_FROM, PARTS_TO = 16_384, 262_144
"""Weights of a layer that is summed in parts: fewer are one thread's, more do not stay in the processors' own caches.

A thread then reads the rows of the weights that it has updated: one that another has changed takes longer to fetch than
to multiply by a small batch. Where sums are in parts is a matter of shapes, so that threads change no bit.
"""

FEW_ROWS, MOST_ROWS = 16, 256
"""Rows of a batch up to which a layer of any size, and one of at most `PARTS_TO` weights, is summed in parts."""

MOST_STATES = 16
"""States of a rule that C has room for."""

KEY_NUMBERS = 2
"""Numbers of the key that stores are rounded at random with; they follow the numbers of a sweep."""

MIX_FIRST, MIX_SECOND = 0x7FEB352D, 0x846CA68B
"""Multipliers of the integer hash that stochastic rounding takes its random bits from; see
:mod:`fastopt.backends.rounding`. They are those of Wellons's `lowbias32`, in which each bit of the argument changes
each bit of the result with a probability of about one half."""


def chunk_count(size: int) -> int:
    """Return the number of chunks of so many elements."""
    return -(-size // CHUNK)
