"""Spans: slices of an optimizer's buffers that one set of numbers serves, and the passes over them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, Device, MatMul, Run, Storage, number_count
from ..buffers import Layout, Segment
from ..rules import MatrixStage, Rule, Sweep
from .groups import Group, Groups

__all__ = ["Pass", "Product", "Span", "Spans"]

Array = NDArray[Any]


class Pass:
    """A sweep over one span: its numbers are written here, and read where it runs."""

    def __init__(self, sweep: Sweep, row: Array, read: Any, pack: Callable[..., None]) -> None:
        self.sweep, self.row, self.read = sweep, row, read
        self.sums: Any = None
        self.run: Run = _unbound

        def put(numbers: Sequence[float]) -> None:
            try:
                pack(row, 0, *numbers)
            except OverflowError:  # too large for float32: that is Inf, as everywhere
                with np.errstate(over="ignore"):
                    row[: len(numbers)] = numbers

        self.put = put
        """Writes the numbers; NumPy would take longer for so few than the pass over a small buffer."""


class Product:
    """A matrix stage on one span that is a matrix: `run` takes the stage's numbers by name."""

    def __init__(self, stage: MatrixStage, run: Callable[[Mapping[str, Any]], None]) -> None:
        self.stage, self.run = stage, run


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
    """

    def __init__(self, where: slice, group: Group, rule: Rule, stages: list[Pass | Product | None]) -> None:
        self.where, self.group, self.rule, self.stages = where, group, rule, stages

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
    backend, threads
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
    device : Device
        Where the buffers lie.
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
        self.device: Device = backend.device
        self._parameters, self._states = parameters, states
        self._kernels: dict[Sweep, Any] = {}
        self._key_numbers = storage.key_numbers

        def kind(segment: Segment) -> object:
            group = groups.of(segment)
            return segment.name if apart or group.rule.is_per_segment else id(groups.first_like(group))

        cuts = [list(neighbours) for _, neighbours in groupby(layout, key=kind)]
        rules = [rule_of(groups.of(members[0])) for members in cuts]
        sweeps = [stage for rule in rules for stage in rule.stages if isinstance(stage, Sweep)]
        columns = max(map(number_count, sweeps), default=0) + self._key_numbers
        real = backend.compute_dtype(parameters.dtype)
        self.table = self.device.coefficients(len(sweeps), columns, real)
        rows = iter(zip(self.table.rows, self.table.read, strict=True))
        for sweep in sweeps:
            if sweep not in self._kernels:
                self._kernels[sweep] = backend.kernel(sweep, storage, threads)
        matmul: MatMul | None = None
        self.list: list[Span] = []
        for members, rule in zip(cuts, rules, strict=True):
            where = slice(members[0].offset, members[-1].stop)
            stages: list[Pass | Product | None] = []
            for stage in rule.stages:
                if isinstance(stage, Sweep):
                    pack = struct.Struct(f"{number_count(stage)}{real.char}").pack_into
                    row, read = next(rows)
                    count = number_count(stage) + self._key_numbers
                    stages.append(Pass(stage, row[:count], read[:count], pack))
                elif len(members[0].shape) == 2:
                    matmul = matmul or backend.matmul(real, threads)
                    buffer, shape = states[stage.buffer][where], members[0].shape
                    stages.append(Product(stage, self.device.bind_matrices(stage, buffer, shape, matmul)))
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
        buffer = self.device.take(
            "gradients", gradients, dtype=parameters.dtype, size=parameters.size, writable=writable
        )
        self.device.check_disjoint({"gradients": buffer, "parameters": parameters, **self._states})
        self.bound = None  # until all spans are bound: an exception may come between two
        named = {"p": parameters, "g": buffer, **self._states}
        for span in self.list:
            for stage in span.stages:
                if isinstance(stage, Pass):
                    buffers = [named[name][span.where] for name in stage.sweep.buffers]
                    stage.run = self._kernels[stage.sweep](buffers, stage.read, stage.sums, span.where.start)
        self.buffer, self.bound = buffer, gradients

    def set_key(self, key: tuple[int, int]) -> None:
        """Have the next passes round by the random bits of that key."""
        for span in self.list:
            for stage in span.passes:
                stage.row[-self._key_numbers :] = key

    def clear_gradients(self) -> None:
        """Set the gradient to zero."""
        self.device.clear(self.buffer)


def _unbound(zero_grad: bool) -> None:
    raise RuntimeError("no gradient is bound")
