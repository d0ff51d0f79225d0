"""What kernels call: instructions, or in the simulator Python functions."""

from .shim import simulated

if simulated:
    from .simulation import fetch, fma, same_dtype, store, strict_arithmetic
else:
    from .intrinsics import fetch, fma, same_dtype, store, strict_arithmetic  # type: ignore[assignment]

__all__ = ["fetch", "fma", "same_dtype", "store", "strict_arithmetic"]
