"""bfloat16, the upper half of a float32: NumPy's dtype of that name comes from the package ml_dtypes.

Arrays then know what they hold, NumPy converts and prints them, and safetensors saves them under their own name. The
package is imported by whoever makes such an array, and not before. A GPU's memory, which is no array of NumPy, is
described without it, by :data:`BFLOAT16`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["BFLOAT16", "arithmetic_dtype", "bfloat16", "is_bfloat16"]


@dataclass(frozen=True)
class _Bfloat16:
    name: str = "bfloat16"
    itemsize: int = 2
    isnative: bool = True


BFLOAT16: Any = _Bfloat16()


def bfloat16() -> np.dtype[Any]:
    """Return NumPy's dtype.

    Examples
    --------
    >>> np.ones(2, bfloat16()).itemsize
    2
    """
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def is_bfloat16(array: object) -> bool:
    """Return whether it is an array of bfloat16, of whatever library: all call that dtype by this name."""
    return str(getattr(array, "dtype", "")).endswith("bfloat16")


def arithmetic_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that rules compute in, and that states have by default: float32 for bfloat16, else `dtype`."""
    return np.dtype(np.float32) if dtype.name == "bfloat16" else dtype
