"""What kernels call: instructions, or in the simulator Python functions."""

from .shim import simulated

if simulated:
    from .simulation import add_exponent, fetch, fma, same_dtype, store, strict_arithmetic
else:
    from .intrinsics import add_exponent, fetch, fma, same_dtype, store, strict_arithmetic  # type: ignore[assignment]

__all__ = ["add_exponent", "fetch", "fma", "same_dtype", "store", "strict_arithmetic"]
