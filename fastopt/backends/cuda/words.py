"""What kernels call: instructions, or in the simulator Python functions."""

from .shim import simulated

if simulated:
    from .simulation import (
        NUMBER_WORDS,
        SCALAR_WORDS,
        add_exponent,
        fetch,
        fetch_one,
        fma,
        same_dtype,
        store,
        store_one,
        strict_arithmetic,
    )
else:
    from .intrinsics import (  # type: ignore[assignment]
        NUMBER_WORDS,
        SCALAR_WORDS,
        add_exponent,
        fetch,
        fetch_one,
        fma,
        same_dtype,
        store,
        store_one,
        strict_arithmetic,
    )

__all__ = [
    "NUMBER_WORDS",
    "SCALAR_WORDS",
    "add_exponent",
    "fetch",
    "fetch_one",
    "fma",
    "same_dtype",
    "store",
    "store_one",
    "strict_arithmetic",
]
