"""bfloat16 by its definition, in float64 arithmetic: 8 bits of significand, float32's exponents, ties to even."""

import numpy as np

_LEAST_EXPONENT = -125


def widened(halves):
    """Return the float32 numbers whose upper halves these are."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def rounded(values):
    """Return the bits of the nearest bfloat16 of each float32; a NaN keeps its upper bits and becomes quiet."""
    values = np.ascontiguousarray(values, np.float32)
    with np.errstate(invalid="ignore"):
        exact = values.astype(np.float64)
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent, _LEAST_EXPONENT) - 8)
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = (np.rint(exact / unit) * unit).astype(np.float32)
    upper = (np.where(np.isfinite(values), nearest, values).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(values), (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16) | 0x40, upper)


def critical():
    """Return every bfloat16 with lower halves about which way a float32 is rounded is decided."""
    upper = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper[:, None] | lower).ravel().view(np.float32)
