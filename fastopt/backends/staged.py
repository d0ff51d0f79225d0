"""What a backend has to know of a rule of several sweeps to update by it within a training step.

A step computes the gradient of all layers, or of one, then runs the stages over spans, and computes the numbers that
they take in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .._constants import CHUNK, chunk_count
from ..rules import Rule, Sweep
from ..rules.frame import Frame, frame_of
from .network import NetworkSpec

__all__ = ["Frames", "Piece", "SpanSpec", "StagedTrainer", "StagedUpdate"]

Array = NDArray[Any]


class SpanSpec(NamedTuple):
    """A slice of the flat buffers with numbers of its own; `group` is the row of its coefficients and of its memory."""

    offset: int
    size: int
    group: int


class Piece(NamedTuple):
    """A chunk of a span: what one thread updates at a time.

    `start` counts within the span, `offset` within the flat buffers; `chunk` is the first chunk of the span, counted
    over all spans.
    """

    span: int
    start: int
    size: int
    offset: int
    chunk: int


@dataclass(frozen=True)
class StagedUpdate:
    """A rule whose stages are sweeps, and the spans that it updates.

    Attributes
    ----------
    rule
        The stages and the numbers.
    states
        Names of the buffers of a training, after the parameters.
    spans
        In the order of the sums over all of them.
    by_layer
        Whether each layer's spans can be updated as soon as its gradient is there: they lie in it, and no number
        depends on the spans of other layers.
    """

    rule: Rule
    states: tuple[str, ...]
    spans: tuple[SpanSpec, ...]
    by_layer: bool

    @cached_property
    def frame(self) -> Frame:
        """Where the numbers of a span lie."""
        return frame_of(self.rule)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The stages."""
        return tuple(stage for stage in self.rule.stages if isinstance(stage, Sweep))

    @property
    def moments(self) -> int:
        """How often numbers are computed: before each stage, and after the last where there is something to compute."""
        ends_with_numbers = bool(self.rule.schedule.after[-1]) or bool(self.sweeps[-1].sums)
        return len(self.sweeps) + ends_with_numbers

    @property
    def chunks(self) -> list[int]:
        """The number of chunks of each span."""
        return [chunk_count(span.size) for span in self.spans]

    def turns(self, network: NetworkSpec) -> list[range]:
        """Return the numbers of the spans that are updated after each layer's gradient, or after the whole one."""
        if not self.by_layer:
            return [range(len(self.spans))]
        starts = [layer.offset for layer in network.layers]
        first = [sum(span.offset < start for span in self.spans) for start in (*starts, network.size)]
        return [range(*pair) for pair in pairwise(first)]

    def pieces(self) -> list[Piece]:
        """Return the chunks of all spans."""
        pieces: list[Piece] = []
        for number, span in enumerate(self.spans):
            first = len(pieces)
            for start in range(0, span.size, CHUNK):
                pieces.append(Piece(number, start, min(CHUNK, span.size - start), span.offset + start, first))
        return pieces


class Frames:
    """The frames of all spans, in float64."""

    def __init__(self, update: StagedUpdate) -> None:
        self.values = np.zeros((len(update.spans), update.frame.size))
        self.groups = np.array([span.group for span in update.spans], np.int64)
        self._memory = [update.frame.places[name] for name in update.frame.memory]

    def put_memory(self, memory: Array) -> None:
        """Write each group's memory to its spans."""
        self.values[:, self._memory] = memory[self.groups]

    def take_memory(self, memory: Array) -> None:
        """Read each group's memory: all its spans have computed the same."""
        memory[self.groups] = self.values[:, self._memory]


class StagedTrainer(Protocol):
    """Steps of one network by the stages of a rule, in one dtype."""

    def __call__(
        self,
        buffers: Sequence[Array],
        gradients: Array,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        given: Array,
        memory: Array,
        loss: float,
    ) -> tuple[float, int]:
        """Take ``ceil(len(rows) / batch)`` steps, the last of them on the remainder.

        Parameters and results are those of :class:`.network.Trainer`, except for

        gradients
            A flat buffer that is overwritten with the gradient of each step.
        given
            Float64 of shape (steps, groups, numbers): what :attr:`Frame.given` names, for each step.
        memory
            Float64 of shape (groups, memories), replaced by the memory after the last step.
        """
