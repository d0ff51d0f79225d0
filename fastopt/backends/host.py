"""The host as a device: NumPy arrays, and numbers that Python computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..buffers import aligned_zeros, check_buffer, check_disjoint
from ..rules import MatrixStage, Number
from .functions import substituted
from .plan import Evaluate, Instruction, Move, PassSums, Plan

__all__ = ["HostDevice", "evaluate"]

Array = NDArray[Any]
Put = Callable[[Sequence[float]], None]


class HostDevice:
    """The host's memory; see :class:`~fastopt.backends.protocol.Device`."""

    is_host = True
    take = staticmethod(check_buffer)
    zeros = staticmethod(aligned_zeros)
    check_disjoint = staticmethod(check_disjoint)

    def clear(self, buffer: Array) -> None:
        """Set a buffer to zero."""
        buffer.fill(0)

    def write(self, buffer: Array, values: Any) -> None:
        """Copy values into a buffer."""
        buffer[:] = values

    def read(self, buffer: Array, out: Array | None = None) -> Array:
        """Return the buffer itself, or `out` with a copy of its values."""
        if out is None:
            return buffer
        out[:] = buffer
        return out

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> _HostCoefficients:
        """Return rows that passes read where they are written."""
        return _HostCoefficients([np.empty(columns, dtype) for _ in range(rows)])

    def numbers(self, plan: Plan, table: Any, puts: Sequence[Put]) -> _HostNumbers:
        """Return what computes the plan's numbers in Python."""
        return _HostNumbers(plan, puts)

    def bind_matrices(
        self, stage: MatrixStage, buffer: Array, shape: tuple[int, ...], matmul: Any
    ) -> Callable[[Mapping[str, Any]], None]:
        """Return what runs a matrix stage on a buffer."""
        matrix = buffer.reshape(shape)

        def run(numbers: Mapping[str, Any]) -> None:
            matrix[...] = stage.function(matrix, matmul, **numbers)

        return run

    def launching(self, gradients: Array) -> AbstractContextManager[object]:
        """Return a context without warnings: NaN and Inf are results."""
        return np.errstate(all="ignore")

    def capture(self, function: Callable[[], object], gradients: Array) -> Callable[[], None]:
        """Return what calls the function."""

        def replay() -> None:
            function()

        return replay


class _HostCoefficients:
    """Rows that passes read where they are written."""

    def __init__(self, rows: list[Array]) -> None:
        self.rows, self.read = rows, rows

    def send(self, gradients: Any) -> None:
        pass


class _HostNumbers:
    """The numbers of a step as a list of floats, computed one after the other."""

    def __init__(self, plan: Plan, puts: Sequence[Put]) -> None:
        self._plan, self._puts = plan, puts
        self._values = [0.0] * plan.size
        self.sums: list[Any] = [None] * len(puts)
        for own in _flat(plan.sums):
            self.sums[own.number_of_pass] = np.zeros(len(own.slots))

    def begin(self, given: Sequence[float], gradients: Any) -> None:
        self._values[: len(given)] = given

    def compute(self, moment: int) -> None:
        values = self._values
        for own in self._plan.sums[moment - 1] if moment else ():
            for slot, value in zip(own.slots, self.sums[own.number_of_pass].tolist(), strict=True):
                values[slot] = value
        for instruction in self._plan.moments[moment]:
            _execute(instruction, values)
        for row in self._plan.rows[moment] if moment < len(self._plan.rows) else ():
            self._puts[row.number_of_pass]([values[slot] for slot in row.slots])

    def scalar(self, slot: int) -> float:
        return self._values[slot]

    def read(self, slots: Sequence[int]) -> list[float]:
        return [self._values[slot] for slot in slots]

    def write(self, slots: Sequence[int], values: Sequence[float]) -> None:
        for slot, value in zip(slots, values, strict=True):
            self._values[slot] = value


def _flat(sums: Iterable[Iterable[PassSums]]) -> list[PassSums]:
    return [own for stage in sums for own in stage]


def _execute(instruction: Instruction, values: list[float]) -> None:
    if isinstance(instruction, Evaluate):
        for j in range(instruction.count):
            arguments = [values[first + j * stride] for first, stride in instruction.arguments]
            values[instruction.result + j] = evaluate(instruction.number, arguments)
    elif isinstance(instruction, Move):
        values[instruction.result] = values[instruction.source]
    else:
        total = 0.0
        for term in instruction.terms:
            total += values[term]
        values[instruction.result] = total


def evaluate(number: Number, arguments: Iterable[float]) -> float:
    """Return the value of a number, with IEEE's results of a division by zero and of the root of a negative number.

    It is called where :func:`numpy.errstate` ignores these.
    """
    return float(_with_ieee_results(number.function)(*map(np.float64, arguments)))


@cache
def _with_ieee_results(function: Callable[..., float]) -> Callable[..., float]:
    return substituted(function, {math.sqrt: np.sqrt})
