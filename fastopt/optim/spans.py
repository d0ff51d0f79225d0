"""Spans: slices of an optimizer's buffers that one set of numbers serves, and the passes over them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, MatMul, Run, Storage, number_count
from ..buffers import Layout, Segment
from ..memory import Memory
from ..rules import MatrixStage, Rule, Sweep
from .groups import Group, Groups

__all__ = ["Pass", "Span", "Spans"]

Array = NDArray[Any]


class Pass:
    """A sweep over one span: its numbers are written here, and read where it runs."""

    def __init__(self, sweep: Sweep, row: Array, read: Any, pack: Callable[..., None]) -> None:
        self.sweep, self.row, self.read, self._pack = sweep, row, read, pack
        self.sums = np.zeros(len(sweep.sums)) if sweep.sums else None
        self.run: Run = _unbound

    def put(self, numbers: Sequence[float]) -> None:
        """Write the numbers; NumPy would take longer for so few than the pass over a small buffer."""
        try:
            self._pack(self.row, 0, *numbers)
        except OverflowError:  # too large for float32: that is Inf, as everywhere
            with np.errstate(over="ignore"):
                self.row[: len(numbers)] = numbers


class Product:
    """A matrix stage on one span that is a matrix."""

    def __init__(self, stage: MatrixStage, matrix: Array, dtype: np.dtype[Any], matmul: MatMul) -> None:
        self.stage, self._matrix, self._dtype, self._matmul = stage, matrix, dtype, matmul

    def run(self, numbers: Mapping[str, float]) -> None:
        """Replace the matrix by what the stage's function gives; where it is bfloat16, rounded to nearest."""
        own = {name: float(numbers[name]) for name in self.stage.numbers}
        self._matrix[...] = self.stage.function(self._matrix.astype(self._dtype, copy=False), self._matmul, **own)


class Span:
    """A slice of the buffers.

    Attributes
    ----------
    where
        The slice.
    group
        Its rule and hyper-parameters.
    rule
        The stages of a step: those of the group's rule, and what comes before them.
    stages
        What each stage does to it; None where one leaves it as it is.
    values
        Numbers of the step that are the span's own, by name.
    """

    def __init__(self, where: slice, group: Group, rule: Rule, stages: list[Pass | Product | None]) -> None:
        self.where, self.group, self.rule, self.stages = where, group, rule, stages
        self.values: dict[str, float] = {}

    @property
    def passes(self) -> list[Pass]:
        """The stages that are sweeps."""
        return [stage for stage in self.stages if isinstance(stage, Pass)]

    @property
    def size(self) -> int:
        """Number of parameters."""
        size: int = self.where.stop - self.where.start
        return size


class Spans:
    """The spans of an optimizer's buffers, and the gradient that their passes are bound to.

    Parameters
    ----------
    backend, memory, threads
        What runs the passes.
    groups
        Which rule updates what.
    rule_of
        Gives the stages of a group's step: the group's rule, or this one after others.
    parameters, states, storage
        The buffers, and how they lie in memory.
    layout
        Their segments: neighbours of one group are one span, unless the rule treats each segment as a whole.
    apart
        Whether each segment is a span in any case.

    Attributes
    ----------
    list : list of Span
        In the order of the layout.
    bound : object
        The user's gradient that the passes work on; None before there is one.
    buffer : object
        The same gradient as passes take it.
    table : Coefficients
        Where the numbers of all passes lie.
    """

    def __init__(
        self,
        backend: Backend,
        memory: Memory,
        groups: Groups,
        rule_of: Callable[[Group], Rule],
        parameters: Array,
        states: Mapping[str, Array],
        storage: Storage,
        layout: Layout,
        threads: int,
        *,
        apart: bool,
    ) -> None:
        self._memory, self._parameters, self._states = memory, parameters, states
        self._kernels: dict[Sweep, Any] = {}
        dtype = parameters.dtype

        def kind(segment: Segment) -> object:
            group = groups.of(segment)
            return segment.name if apart or group.rule.is_per_segment else id(groups.first_like(group))

        cuts = [list(neighbours) for _, neighbours in groupby(layout, key=kind)]
        rules = [rule_of(groups.of(members[0])) for members in cuts]
        sweeps = [stage for rule in rules for stage in rule.stages if isinstance(stage, Sweep)]
        # Backends of a device have one storage for each dtype of parameters.
        stored = () if storage.is_plain or memory.device is not None else (storage,)
        self._keys = storage.key_numbers
        columns, real = max(map(number_count, sweeps), default=0) + self._keys, backend.compute_dtype(dtype)
        self.table = memory.coefficients(len(sweeps), columns, real)
        rows = iter(zip(self.table.rows, self.table.read, strict=True))
        for sweep in sweeps:
            if sweep not in self._kernels:
                self._kernels[sweep] = backend.kernel(sweep, dtype, threads, *stored)
        self.list: list[Span] = []
        for members, rule in zip(cuts, rules, strict=True):
            where = slice(members[0].offset, members[-1].stop)
            stages: list[Pass | Product | None] = []
            for stage in rule.stages:
                if isinstance(stage, Sweep):
                    pack = struct.Struct(f"{number_count(stage)}{real.char}").pack_into
                    row, read = next(rows)
                    count = number_count(stage) + self._keys
                    stages.append(Pass(stage, row[:count], read[:count], pack))
                elif len(members[0].shape) == 2:
                    matrix = members[0].view(states[stage.buffer])
                    stages.append(Product(stage, matrix, real, backend.matmul(real, threads)))
                else:
                    stages.append(None)
            self.list.append(Span(where, groups.first_like(groups.of(members[0])), rule, stages))
        self.bound: Any = None

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
        self.bound = None  # until all spans are bound: an exception may come between two
        named = {"p": parameters, "g": buffer, **self._states}
        for span in self.list:
            for stage in span.stages:
                if isinstance(stage, Pass):
                    buffers = [named[name][span.where] for name in stage.sweep.buffers]
                    position = {"position": span.where.start} if self._keys else {}
                    arguments = (buffers, stage.read) if stage.sums is None else (buffers, stage.read, stage.sums)
                    stage.run = self._kernels[stage.sweep](*arguments, **position)
        self.buffer, self.bound = buffer, gradients

    def set_key(self, key: tuple[int, int]) -> None:
        """Have the next passes round by the random numbers of that key."""
        for span in self.list:
            for stage in span.passes:
                stage.row[-self._keys :] = key

    def clear_gradients(self) -> None:
        """Set the gradient to zero."""
        self._memory.clear(self.buffer)


def _unbound(zero_grad: bool) -> None:
    raise RuntimeError("no gradient is bound")
