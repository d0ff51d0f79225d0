"""The backend to compare with: the rule's own function on whole NumPy arrays, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..rules import Rule, vocabulary
from .network import NetworkSpec, Trainer
from .protocol import PASS_COEFFICIENTS, Array, Kernel, Run

__all__ = ["ReferenceBackend"]

_ON_ARRAYS: dict[Any, Any] = {
    vocabulary.clip: np.clip,
    vocabulary.sign: np.sign,
    vocabulary.where: np.where,
    math.sqrt: np.sqrt,
    math: np,
}


class ReferenceBackend:
    """Float64 arithmetic whatever the buffers hold; slow, obvious, and in one thread."""

    name = "reference"
    device = None

    def describe(self) -> str:
        """Return what it is."""
        return "float64 NumPy, for comparison"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return float64."""
        return np.dtype(np.float64)

    def kernel(self, rule: Rule, dtype: np.dtype[Any], threads: int) -> Kernel:
        """Return the pass as NumPy calls."""
        update = _on_arrays(rule.update)

        def on(buffers: Sequence[Array], coefficients: Array) -> Run:
            def run(zero_grad: bool) -> None:
                _update(rule, update, buffers, coefficients)
                if zero_grad:
                    buffers[1].fill(0)

            return run

        return on

    def trainer(self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int) -> Trainer | None:
        """Return None: the network's own NumPy code is the reference."""
        return None

    def sum_of_squares(self, values: Array, threads: int) -> Callable[[], float]:
        """Return what gives Σ x²."""
        return lambda: float(np.sum(np.square(values, dtype=np.float64)))


def _update(rule: Rule, update: Callable[..., Any], buffers: Sequence[Array], coefficients: Array) -> None:
    split = len(PASS_COEFFICIENTS)
    grad_scale, clip_value, weight_decay, decay_factor = coefficients[:split]
    own = dict(zip(rule.coefficient_names, coefficients[split:], strict=True))
    p, g, *states = (buffer.astype(np.float64) for buffer in buffers)
    g = np.clip(g * grad_scale, -clip_value, clip_value) + weight_decay * p
    try:
        results = update(p * decay_factor, g, *states, **own)
    except ValueError as error:
        raise ValueError(
            f"rule {rule.name}: the reference backend runs it on whole arrays and met {error}; "
            "write where(condition, a, b) for a branch"
        ) from error
    outputs = results if isinstance(results, tuple) else (results,)
    for buffer, result in zip((buffers[0], *buffers[2:]), outputs, strict=True):
        buffer[:] = result


def _on_arrays(update: Callable[..., Any]) -> Callable[..., Any]:
    names = {key: _swapped(value) for key, value in update.__globals__.items()}
    enclosed = tuple(CellType(_swapped(cell.cell_contents)) for cell in update.__closure__ or ())
    function = FunctionType(update.__code__, names, update.__name__, None, enclosed)
    function.__kwdefaults__ = update.__kwdefaults__
    return function


class _Swapped:
    """A module whose functions are those for arrays."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _swapped(getattr(self._module, name))


def _swapped(value: Any) -> Any:
    if type(value).__hash__ is not None and value in _ON_ARRAYS:
        return _ON_ARRAYS[value]
    return _Swapped(value) if isinstance(value, ModuleType) else value
