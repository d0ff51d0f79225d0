"""The numbers of a step with several stages, computed on the GPU: the host sends what is given and waits for nothing.

After each stage with sums one kernel adds up their chunks. Before each stage one block executes the plan's instructions
of that moment: the threads share the numbers that exist for each span, one thread computes the others, and all of them
write what the stage's passes take to the passes' rows. Arithmetic is strict, and in float64, as it is on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from ..._constants import chunk_count
from ...rules import Number
from ..functions import define_at, positional, substituted, with_constants
from ..plan import Evaluate, Instruction, Move, PassSums, Plan, Row, Total
from . import reductions, shim
from .buffer import DeviceBuffer, array_type
from .coefficients import Coefficients
from .shim import cuda, inlined, types
from .streams import stream_pointer
from .words import NUMBER_WORDS, strict_arithmetic

__all__ = ["CudaNumbers", "moment_function", "moment_signature"]

BLOCK = 64
"""Threads of the block that computes."""

_FLOAT64 = np.dtype(np.float64)

_KERNEL = """\
def moment(values, order, sources, places, count, table):
    strict_arithmetic()
    thread, threads = uint64(cuda.threadIdx.x), uint64(cuda.blockDim.x)
{instructions}
    k = thread
    while k < count:
        table[places[k]] = real(values[sources[k]])
        k += threads
"""
_EVALUATE = """\
    j = thread
    while j < uint64({count}):
        values[uint64({result}) + j] = {number}({arguments})
        j += threads
    cuda.syncthreads()
"""
_TOTAL = """\
    if thread == uint64(0):
        total = 0.0
        k = uint64({first})
        while k < uint64({last}):
            total += values[order[k]]
            k += uint64(1)
        values[uint64({result})] = total
    cuda.syncthreads()
"""
_MOVE = """\
    if thread == uint64(0):
        values[uint64({result})] = values[uint64({source})]
    cuda.syncthreads()
"""


class CudaNumbers:
    """The numbers of a plan; see :class:`~fastopt.backends.protocol.Numbers`.

    Parameters
    ----------
    plan
        What is computed.
    table
        Where the passes' rows are. They are written by kernels only.
    """

    def __init__(self, plan: Plan, table: Coefficients) -> None:
        self._values = Coefficients(1, plan.given, _FLOAT64, room=plan.size - plan.given)
        self.sums: list[Any] = [None] * len(table.read)
        columns = table.rows[0].size if table.rows else 0
        adds = [self._adding(sums) for sums in plan.sums]
        stages = [*plan.rows, ()]
        computes = [
            self._computing(instructions, rows, table.table, columns)
            for instructions, rows in zip(plan.moments, stages, strict=True)
        ]
        self._launches: list[list[Callable[[Any], None]]] = [
            [launch for launch in pair if launch is not None] for pair in zip([None, *adds], computes, strict=True)
        ]

    def begin(self, given: Sequence[float], gradients: DeviceBuffer) -> None:
        """Send what is given."""
        self._values.rows[0][:] = given
        self._values.send(gradients)

    def compute(self, moment: int) -> None:
        """Launch what computes the numbers of a moment, on the stream of :meth:`Device.launching`."""
        stream = shim.stream(stream_pointer(None))
        for launch in self._launches[moment]:
            launch(stream)

    def scalar(self, slot: int) -> DeviceBuffer:
        """Return a number where it lies."""
        return self._values.table[slot : slot + 1]

    def read(self, slots: Sequence[int]) -> list[float]:
        """Return numbers, when all work on them is done."""
        values: list[float] = self._values.table.copy_to_host()[list(slots)].tolist()
        return values

    def write(self, slots: Sequence[int], values: Sequence[float]) -> None:
        """Set numbers."""
        if slots:
            all_values = self._values.table.copy_to_host()
            all_values[list(slots)] = values
            self._values.table.array.copy_to_device(all_values)
            shim.synchronize()

    def _adding(self, sums: Sequence[PassSums]) -> Callable[[Any], None] | None:
        """Return what adds up the chunks of a stage's sums, which lie one after the other; None where it has none."""
        if not sums:
            return None
        counts = [chunk_count(own.size) for own in sums for _ in own.slots]
        ends = np.cumsum([0, *counts])
        chunks = DeviceBuffer(shim.empty(max(1, int(ends[-1])), _FLOAT64))
        first = 0
        for own in sums:
            last = first + len(own.slots)
            self.sums[own.number_of_pass] = chunks[int(ends[first]) : int(ends[last])]
            first = last
        places = list(chain.from_iterable(own.slots for own in sums))
        kernel, count, block = reductions.add_kernel(), len(places), reductions.TILE
        arguments = (chunks.array, _on_device(ends), self._values.table.array, _on_device(places))

        def add(stream: Any) -> None:
            kernel[count, block, stream](*arguments)

        return add

    def _computing(
        self, instructions: Sequence[Instruction], rows: Sequence[Row], table: DeviceBuffer, columns: int
    ) -> Callable[[Any], None] | None:
        """Return what executes the instructions and fills the rows; None where there is nothing to do."""
        if not instructions and not rows:
            return None
        sources = list(chain.from_iterable(row.slots for row in rows))
        places = [row.number_of_pass * columns + column for row in rows for column in range(len(row.slots))]
        order = list(chain.from_iterable(step.terms for step in instructions if isinstance(step, Total)))
        kernel, block = _compiled(tuple(instructions), table.dtype), BLOCK
        indices = (_on_device(order), _on_device(sources), _on_device(places))
        arguments = (self._values.table.array, *indices, np.uint64(len(places)), table.array)

        def compute(stream: Any) -> None:
            kernel[1, block, stream](*arguments)

        return compute


def _on_device(indices: Sequence[int] | np.ndarray[Any, Any]) -> Any:
    """Return indices as kernels take them; an array of one where there is none."""
    return shim.copied(np.array(indices if len(indices) else [0], np.uint64))


@cache
def _compiled(instructions: tuple[Instruction, ...], dtype: np.dtype[Any]) -> Any:
    return shim.kernel(moment_function(instructions, dtype), moment_signature(dtype), (BLOCK,))


def moment_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments, for passes that take numbers of that dtype."""
    values, indices = array_type(_FLOAT64), types.Array(types.uint64, 1, "C")
    return values, indices, indices, indices, types.uint64, array_type(dtype)


def moment_function(instructions: Sequence[Instruction], dtype: np.dtype[Any]) -> Callable[..., None]:
    """Return the kernel ``(values, order, sources, places, count, table)`` of a moment as a Python function.

    `order` holds the terms of all totals. At the end, `count` numbers go from `sources` to `places` of the table.
    """
    numbers = dict.fromkeys(step.number for step in instructions if isinstance(step, Evaluate))
    names = {number: f"number_{k}" for k, number in enumerate(numbers)}
    space: dict[str, Any] = {
        **{names[number]: _scalar_function(number) for number in numbers},
        "cuda": cuda,
        "uint64": np.uint64,
        "real": dtype.type,
        "strict_arithmetic": strict_arithmetic,
    }
    define_at(_source, _source(instructions, names), space)
    function: Callable[..., None] = space["moment"]
    return function


def _scalar_function(number: Number) -> Any:
    def prepared(function: Any) -> Any:
        return inlined(with_constants(function, np.float64))

    return prepared(substituted(positional(number.function), NUMBER_WORDS, prepared))


def _source(instructions: Sequence[Instruction], names: Mapping[Number, str]) -> str:
    parts, terms = [], 0
    for step in instructions:
        if isinstance(step, Evaluate):
            arguments = ", ".join(
                f"values[uint64({first}) + j]" if stride else f"values[uint64({first})]"
                for first, stride in step.arguments
            )
            name = names[step.number]
            parts.append(_EVALUATE.format(count=step.count, result=step.result, number=name, arguments=arguments))
        elif isinstance(step, Move):
            parts.append(_MOVE.format(result=step.result, source=step.source))
        else:
            parts.append(_TOTAL.format(first=terms, last=terms + len(step.terms), result=step.result))
            terms += len(step.terms)
    return _KERNEL.format(instructions="".join(parts))
