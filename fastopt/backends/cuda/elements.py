"""Scalar functions of activations and losses for kernels on a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...elements import Activation, ElementLoss, add_exponent
from ..elements import element_compiler
from ..functions import define_at
from . import words
from .shim import cuda, inlined

__all__ = ["generated", "scalar"]


@cache
def scalar(dtype: np.dtype[Any]) -> Any:
    """Return what compiles scalar functions for kernels of that dtype."""
    return element_compiler(dtype, {add_exponent: words.add_exponent}, inlined)


def generated(element: Activation | ElementLoss, name: str, source: str, **functions: Any) -> Any:
    """Return the kernel of that name in the source, which calls the functions."""
    space: dict[str, Any] = {
        "__name__": element.value.__module__,
        "cuda": cuda,
        "float64": np.float64,
        "same_dtype": words.same_dtype,
        "strict_arithmetic": words.strict_arithmetic,
        "uint64": np.uint64,
        **functions,
    }
    define_at(element.value, source, space)
    return space[name]
