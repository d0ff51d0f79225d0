"""bfloat16, the upper half of a float32: NumPy has no such dtype, and so this stands where one of its dtypes would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["BFLOAT16", "is_bfloat16", "state_dtype"]


@dataclass(frozen=True)
class _Bfloat16:
    name: str = "bfloat16"
    itemsize: int = 2
    isnative: bool = True


BFLOAT16: Any = _Bfloat16()


def is_bfloat16(array: object) -> bool:
    """Return whether it is an array of bfloat16, of whatever library: all call that dtype by this name."""
    return str(getattr(array, "dtype", "")).endswith("bfloat16")


def state_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that a rule's states have beside parameters of `dtype`: the same, float32 beside bfloat16."""
    return np.dtype(np.float32) if dtype is BFLOAT16 else dtype
