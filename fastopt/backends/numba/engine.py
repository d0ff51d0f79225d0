"""The engine's machine code: each part of a pass for one dtype, and the loop over steps that all share."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import prange, types
from numba.np.numpy_support import from_dtype

from ... import _constants
from .decorators import inlined, kernel
from .digest import digest_of
from .layers import add_range, forward_range, gradient_range
from .memory import call_part, data_address
from .part import part
from .stages import moment_range
from .steps import Call, work

__all__ = ["launch", "moment_part", "parts"]

_SOURCES = (
    "decorators",
    "intrinsics",
    "layers",
    "memory",
    "part",
    "products",
    "stages",
    "steps",
    "team",
    "vectors",
)


_RUN_WORK = Call.RUN_WORK.value


@cache
def _digest() -> str:
    return digest_of(_constants.__name__, *(f"{__package__}.{name}" for name in _SOURCES))[:12]


@cache
def _work() -> Any:
    return part(work, types.int64, types.int64, digest=_digest())


@cache
def parts(dtype: np.dtype[Any]) -> dict[Call, Any]:
    """Return the compiled parts; they have to be kept for as long as their addresses are."""
    n, real = types.int64, types.CPointer(from_dtype(dtype))
    ints = types.CPointer(n)
    signatures: dict[Call, tuple[Any, ...]] = {
        Call.RUN_FORWARD: (forward_range, real, ints, real, n, n, n, real, real, n, n, n, n, real),
        Call.RUN_ADD: (add_range, real, n, n, real, n, n, n),
        Call.RUN_GRADIENT: (gradient_range, real, ints, real, n, n, real, n, n, ints, real),
    }
    codes = {place: part(*signature, digest=_digest()) for place, signature in signatures.items()}
    return {Call.RUN_WORK: _work(), **codes}


@cache
def moment_part(dtype: np.dtype[Any]) -> Any:
    """Return the compiled part that computes numbers between stages; it has to be kept as the others."""
    n, real = types.int64, types.CPointer(from_dtype(dtype))
    doubles = types.CPointer(types.float64)
    return part(moment_range, types.CPointer(n), n, n, n, doubles, doubles, real, digest=_digest())


@inlined
def _sums(losses: Any, right: Any, batch: Any, total: Any) -> Any:
    count = 0
    for start in range(0, losses.size, batch):
        of_batch = 0.0
        for i in range(start, min(start + batch, losses.size)):
            of_batch += losses[i]
            count += right[i]
        total += of_batch
    return total, count


@kernel(digest=_digest())
def _alone(call: Any, losses: Any, right: Any, batch: Any, total: Any) -> Any:
    call_part(call[_RUN_WORK], data_address(call), 0)
    return _sums(losses, right, batch, total)


@kernel(digest=_digest(), parallel=True)
def _together(call: Any, threads: Any, losses: Any, right: Any, batch: Any, total: Any) -> Any:
    address, table = call[_RUN_WORK], data_address(call)
    for thread in prange(threads):
        call_part(address, table, thread)
    return _sums(losses, right, batch, total)


def launch(call: Any, losses: Any, right: Any, batch: int, threads: int, total: float) -> tuple[float, int]:
    """Run the call that the table describes.

    Returns `total` and, added to it in order, each batch's sum over its rows of their losses; and the number that is
    right.
    """
    if threads > 1:
        loss, count = _together(call, threads, losses, right, batch, total)
    else:
        loss, count = _alone(call, losses, right, batch, total)
    return float(loss), int(count)
