"""The passes of a step: slices of an optimizer's buffers, as few as one array of coefficients each can serve."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, Run, coefficient_count
from ..buffers import Layout, Segment
from ..memory import Memory
from ..rules import Rule

__all__ = ["Span", "Spans"]

Array = NDArray[Any]


@dataclass
class Span:
    """A slice of the buffers that takes one array of coefficients; the pass over it comes with a gradient.

    The coefficients are written here and read where the passes run.
    """

    where: slice
    group: str
    states: tuple[Array, ...]
    coefficients: Array
    read: Any
    factor: float = 1.0
    gradients: Array = field(init=False)
    run: Run = field(init=False)
    sum_of_squares: Callable[[], float] | None = None

    @property
    def size(self) -> int:
        """Number of parameters."""
        size: int = self.where.stop - self.where.start
        return size


class Spans:
    """The spans of an optimizer's buffers, and the gradient that they are bound to.

    Attributes
    ----------
    list : list of Span
        In the order of the layout.
    bound : object
        The user's gradient that the passes work on; None before there is one.
    buffer : object
        The same gradient as passes take it.
    table : Coefficients
        Where the spans' coefficients lie.
    limit : callable or None
        What limits the norms of the gradient on its device, once it was asked for.
    """

    def __init__(
        self, backend: Backend, memory: Memory, rule: Rule, parameters: Array, states: Mapping[str, Array], threads: int
    ) -> None:
        dtype = parameters.dtype
        self._backend, self._memory, self._threads = backend, memory, threads
        self._parameters, self._states = parameters, states
        self._kernel = backend.kernel(rule, dtype, threads)
        self._columns, self._dtype = coefficient_count(rule), backend.compute_dtype(dtype)
        self._pack: Callable[..., None] = struct.Struct(f"{self._columns}{self._dtype.char}").pack_into
        self.list: list[Span] = []
        self.bound: Any = None
        self.limit: Callable[[], None] | None = None

    def cut(self, layout: Layout, kind: Callable[[Segment], object]) -> None:
        """Make spans of a layout's segments: neighbours of one kind are one span."""
        cuts = [list(neighbours) for _, neighbours in groupby(layout, key=kind)]
        self.table = self._memory.coefficients(len(cuts), self._columns, self._dtype)
        for members, row, read in zip(cuts, self.table.rows, self.table.read, strict=True):
            where = slice(members[0].offset, members[-1].stop)
            states = tuple(state[where] for state in self._states.values())
            self.list.append(Span(where, members[0].group, states, row, read))

    def bind(self, gradients: Any, *, writable: bool) -> None:
        """Have the passes work on that gradient.

        Raises
        ------
        TypeError, ValueError
            It does not fit, or shares memory with the parameters or a state. Nothing was changed.
        """
        parameters = self._parameters
        buffer = self._memory.take(
            "gradients", gradients, dtype=parameters.dtype, size=parameters.size, writable=writable
        )
        self._memory.check_disjoint({"gradients": buffer, "parameters": parameters, **self._states})
        self.bound = self.limit = None  # until all spans are bound: an exception may come between two
        for span in self.list:
            buffers = (parameters[span.where], buffer[span.where], *span.states)
            span.run, span.gradients, span.sum_of_squares = self._kernel(buffers, span.read), buffers[1], None
        self.buffer, self.bound = buffer, gradients

    def put(self, coefficients: Array, values: Sequence[float]) -> None:
        """Write a span's coefficients; NumPy would take longer for so few than the pass over a small buffer."""
        try:
            self._pack(coefficients, 0, *values)
        except OverflowError:  # too large for float32: that is Inf, as everywhere
            with np.errstate(over="ignore"):
                coefficients[:] = values

    def norms(self) -> list[float]:
        """Return the Euclidean norm of each span's gradient."""
        return [math.sqrt(self._sum_of_squares(span)) for span in self.list]

    def set_factors(self, factors: Sequence[float]) -> None:
        """Set what the gradient of each span is to be multiplied by."""
        for span, factor in zip(self.list, factors, strict=True):
            span.factor = factor

    def clear_gradients(self) -> None:
        """Set the gradient to zero."""
        for span in self.list:
            self._memory.clear(span.gradients)

    def _sum_of_squares(self, span: Span) -> float:
        if span.sum_of_squares is None:
            span.sum_of_squares = self._backend.sum_of_squares(span.gradients, self._threads)
        return span.sum_of_squares()
