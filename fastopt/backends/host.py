"""The host as a device: NumPy arrays, and numbers that Python computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._bfloat16 import arithmetic_dtype
from ..buffers import aligned_zeros, check_buffer, check_disjoint
from ..rules import MatrixStage, Number
from .functions import substituted
from .plan import CONSTANTS, Evaluate, Instruction, Move, Plan

__all__ = ["HostDevice", "evaluate", "picker"]

Array = NDArray[Any]
Put = Callable[[Sequence[float]], None]


class HostDevice:
    """The host's memory; see :class:`~fastopt.backends.protocol.Device`."""

    is_host = True
    take = staticmethod(check_buffer)
    zeros = staticmethod(aligned_zeros)
    check_disjoint = staticmethod(check_disjoint)
    launching = None

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
        """Return what runs a matrix stage on a buffer, which rounds to nearest where that is bfloat16."""
        matrix, arithmetic = buffer.reshape(shape), arithmetic_dtype(buffer.dtype)

        def run(numbers: Mapping[str, Any]) -> None:
            with np.errstate(all="ignore"):  # NaN and Inf are results
                matrix[...] = stage.function(matrix.astype(arithmetic, copy=False), matmul, **numbers)

        return run

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
    """The numbers of a step as a list of floats, computed one after the other.

    A step of few parameters takes not much longer than its numbers do: what to do in a moment is laid out once.
    """

    def __init__(self, plan: Plan, puts: Sequence[Put]) -> None:
        self._values = [0.0] * plan.size
        self.sums: list[Any] = [None] * len(puts)
        for own in chain.from_iterable(plan.sums):
            self.sums[own.number_of_pass] = np.zeros(len(own.slots))
        self._moments = [_compiled(moment) for moment in plan.moments]
        added = [[(self.sums[own.number_of_pass], own.slots) for own in stage] for stage in plan.sums]
        self._added = [[], *added]
        for row in chain.from_iterable(plan.rows):
            if row.is_constant:
                puts[row.number_of_pass]([CONSTANTS[slot] for slot in row.slots])
        self._rows = [
            *(
                [(puts[row.number_of_pass], picker(row.slots)) for row in stage if not row.is_constant]
                for stage in plan.rows
            ),
            [],
        ]

    def begin(self, given: Sequence[float], gradients: Any) -> None:
        self._values[: len(given)] = given

    def compute(self, moment: int) -> None:
        values = self._values
        for sums, slots in self._added[moment]:
            for slot, value in zip(slots, sums.tolist(), strict=True):
                values[slot] = value
        self._moments[moment](values)
        for put, pick in self._rows[moment]:
            put(pick(values))

    def scalar(self, slot: int) -> float:
        return self._values[slot]

    def read(self, slots: Sequence[int]) -> list[float]:
        return [self._values[slot] for slot in slots]

    def write(self, slots: Sequence[int], values: Sequence[float]) -> None:
        for slot, value in zip(slots, values, strict=True):
            self._values[slot] = value


def _compiled(moment: Sequence[Instruction]) -> Callable[[list[float]], None]:
    """Return what executes the instructions on the values of the slots: one function, since calls are most of it."""
    space: dict[str, Any] = {"Failures": (ArithmeticError, ValueError), "evaluate": evaluate}
    lines = [line for instruction in moment for line in _statement(instruction, space)]
    exec("\n    ".join(["def run(v):", *(lines or ["pass"])]), space)
    run: Callable[[list[float]], None] = space["run"]
    return run


def _statement(instruction: Instruction, space: dict[str, Any]) -> list[str]:
    """Return the lines of an instruction, with its functions in their name space."""
    result = instruction.result
    if isinstance(instruction, Move):
        return [f"v[{result}] = v[{instruction.source}]"]
    if isinstance(instruction, Evaluate):
        number, function, count = f"number_{len(space)}", f"function_{len(space)}", instruction.count
        space[number], space[function] = instruction.number, instruction.number.function
        place = "{}" if count == 1 else "{} + {} * j"
        arguments = ", ".join(f"v[{place.format(first, stride)}]" for first, stride in instruction.arguments)
        value = f"v[{place.format(result, 1)}]"
        body = [
            f"try: {value} = {function}({arguments})",
            f"except Failures: {value} = evaluate({number}, ({arguments},))",
        ]
        return body if count == 1 else [f"for j in range({count}):", *(f"    {line}" for line in body)]
    return [f"v[{result}] = " + " + ".join(["0.0", *(f"v[{term}]" for term in instruction.terms)])]


def picker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what picks the values of those keys out of a sequence or a mapping."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda values: tuple(map(values.__getitem__, keys))  # where an itemgetter gives no tuple


def evaluate(number: Number, arguments: Sequence[float]) -> float:
    """Return the value of a number, with IEEE's results of a division by zero and of the root of a negative number.

    Python raises where IEEE has a result, which is rare, and is several times as fast as NumPy where not.
    """
    try:
        return number.function(*arguments)
    except (ArithmeticError, ValueError):
        with np.errstate(all="ignore"):
            return float(_with_ieee_results(number.function)(*map(np.float64, arguments)))


@cache
def _with_ieee_results(function: Callable[..., float]) -> Callable[..., float]:
    return substituted(function, {math.sqrt: np.sqrt})
