"""What kernels call: instructions, or in the simulator Python functions."""

from .shim import simulated

if simulated:
    from .simulation import fetch, fetch_one, fma, same_dtype, store, store_one, strict_arithmetic
else:
    from .intrinsics import fetch, fetch_one, fma, same_dtype, store, store_one, strict_arithmetic  # type: ignore[assignment]

__all__ = ["fetch", "fetch_one", "fma", "same_dtype", "store", "store_one", "strict_arithmetic"]
