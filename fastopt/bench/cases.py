"""The cases, as data: what is measured, the bytes that it has to move, and the numbers that all contenders start from.

Everything follows from the case, so that each process makes the same numbers without receiving them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import storage_of
from ..rules import Rule
from ..runs.settings import find_rule

__all__ = [
    "BATCHES",
    "BLOCK",
    "GPU_KINDS",
    "KINDS",
    "MAX_NORM",
    "MOVED",
    "SIZES",
    "TRAIN_SIZES",
    "GpuCase",
    "StepCase",
    "TrainCase",
    "bytes_moved",
    "case_from_dict",
    "plan_steps",
    "plan_training",
    "start_block",
    "start_buffers",
    "start_weights",
    "timed_together",
    "training_data",
]

Array = NDArray[Any]

KINDS = {
    "step": "one step",
    "clip": "the gradient's norm limited, and one step",
    "denormal": "one step whose states have decayed into denormal numbers",
    "threads": "one step on one thread, to compare with all",
    "overhead": "one step of one parameter: the cost of a call",
}
"""Kinds of step cases."""

GPU_KINDS = {
    "memory": "movements in the device's memory",
    "step": "one step on the GPU",
    "graph": "one step in a captured graph",
    "launch": "one step of one parameter on the GPU: the smallest launch",
    "overhead": "one step of one parameter: the host's time of a call",
}
"""Kinds of GPU cases."""

MOVED = {"memcpy": 2, "copy": 2, "triad": 3}
"""Movement in a GPU's memory to the buffers that it reads or writes."""

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TRAIN_SIZES = ((784, 128, 10), (784, 1024, 10), (784, 1024, 1024, 10))
BATCHES = (1, 8, 32, 128, 1024)

MAX_NORM = 1.0
"""Where the norm is limited; the gradient's own is far larger."""

BLOCK = 1 << 20
"""Numbers that are drawn; larger buffers repeat them, since drawing takes longer than a step."""

_THREADS_FROM = 10_000
_DENORMAL_NEAR = 100_000


@dataclass(frozen=True)
class StepCase:
    """One optimizer step over a flat buffer.

    Attributes
    ----------
    rule
        Name of a built-in rule, or ``file.py:name``.
    dtype
        ``"float32"`` or ``"float64"``.
    size
        Parameters.
    threads
        Threads that a contender may use.
    kind
        One of :data:`KINDS`.
    states
        Dtype of the states; that of the parameters when None.
    """

    rule: str
    dtype: str
    size: int
    threads: int = 1
    kind: str = "step"
    states: str | None = None

    @property
    def max_norm(self) -> float | None:
        """Where the gradient's norm is limited."""
        return MAX_NORM if self.kind == "clip" else None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"suite": "step", **asdict(self)}


@dataclass(frozen=True)
class GpuCase:
    """One optimizer step over a flat buffer in a GPU's memory, or one movement there.

    Attributes
    ----------
    rule
        Name of a built-in rule, or ``file.py:name``; in kind ``memory`` one of :data:`MOVED`.
    dtype
        ``"float32"`` or ``"float64"``.
    size
        Parameters; elements of a buffer in kind ``memory``.
    kind
        One of :data:`GPU_KINDS`.
    """

    rule: str
    dtype: str
    size: int
    kind: str = "step"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"suite": "gpu", **asdict(self)}


@dataclass(frozen=True)
class TrainCase:
    """Training of a multi-layer perceptron with relu, softmax cross-entropy and Adam, on synthetic images, in float32.

    Attributes
    ----------
    sizes
        Inputs, hidden units of each layer, outputs.
    batch
        Rows a step.
    rows
        Rows of the data, taken in their order.
    epochs
        Times that a measured round goes over them.
    threads
        Threads that a contender may use.
    """

    sizes: tuple[int, ...]
    batch: int
    rows: int
    epochs: int = 1
    threads: int = 1
    lr: float = 1e-3

    @property
    def name(self) -> str:
        """The sizes as people write them: ``784-128-10``."""
        return "-".join(map(str, self.sizes))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"suite": "train", **asdict(self)}


def case_from_dict(values: Mapping[str, Any]) -> StepCase | GpuCase | TrainCase:
    """Return the case that ``as_dict`` gave, also by way of JSON.

    Examples
    --------
    >>> case = StepCase("adam", "float32", 1000)
    >>> case_from_dict(case.as_dict()) == case
    True
    """
    fields = dict(values)
    suite = fields.pop("suite")
    if suite in ("step", "gpu"):
        return StepCase(**fields) if suite == "step" else GpuCase(**fields)
    return TrainCase(**{**fields, "sizes": tuple(fields["sizes"])})


def timed_together(case: StepCase, threads: int) -> list[StepCase]:
    """Return the case and, where it is measured to be compared with the ordinary step on all threads, that step's.

    Examples
    --------
    >>> timed_together(StepCase("adam", "float32", 1000, threads=1, kind="threads"), threads=2)[1]
    StepCase(rule='adam', dtype='float32', size=1000, threads=2, kind='step', states=None)
    """
    compared = case.kind in ("denormal", "threads")
    return [case, replace(case, threads=threads, kind="step")] if compared else [case]


def bytes_moved(case: StepCase, rule: Rule) -> int:
    """Return the bytes that have to be read and written; clipping by norm has to read the gradient once more.

    Examples
    --------
    >>> from fastopt import RULES
    >>> bytes_moved(StepCase("adam", "float32", 1000), RULES["adam"])
    28000
    """
    dtype = np.dtype(case.dtype)
    moved = storage_of(dtype, case.states, "nearest").bytes_per_parameter(rule)
    return (moved + (case.kind == "clip") * dtype.itemsize) * case.size


def plan_steps(
    rules: Iterable[str],
    dtypes: Iterable[str],
    sizes: Sequence[int],
    threads: int,
    kinds: Iterable[str],
    states: str | None = None,
) -> list[StepCase]:
    """Return the cases of each kind, in the order of :data:`KINDS`."""
    chosen = set(kinds)
    pairs = list(product(rules, dtypes))
    return [
        StepCase(rule, dtype, size, 1 if kind == "threads" else threads, kind, states)
        for kind in KINDS
        if kind in chosen
        for rule, dtype in pairs
        for size in _sizes(kind, rule, sizes, threads)
    ]


def _sizes(kind: str, rule: str, sizes: Sequence[int], threads: int) -> Sequence[int]:
    if kind == "overhead":
        return (1,)
    if kind == "threads":
        return [size for size in sizes if size >= _THREADS_FROM] if threads > 1 else ()
    if kind == "denormal":
        nearest = min(sizes, key=lambda size: abs(math.log(size / _DENORMAL_NEAR)))
        return (nearest,) if find_rule(rule).states else ()
    return sizes


def plan_training(
    sizes: Iterable[tuple[int, ...]], batches: Iterable[int], threads: int, *, quick: bool = False
) -> list[TrainCase]:
    """Return the cases. Rounds are so long that work done once in a round (by keras.fit) does not count."""
    cases = []
    for shape, batch in product(sizes, batches):
        rows = min(8192, 1024 * batch)
        epochs = max(1, batch // 128)
        cases.append(TrainCase(shape, batch, max(batch, rows // 8) if quick else rows, 1 if quick else epochs, threads))
    return cases


def start_buffers(case: StepCase) -> tuple[Array, Array]:
    """Return parameters and gradient: the block of :func:`start_block`, repeated."""
    p, g = start_block(case.dtype, case.size)
    return np.resize(p, case.size), np.resize(g, case.size)


def start_block(dtype: str, size: int) -> tuple[Array, Array]:
    """Return the first parameters and their gradient, :data:`BLOCK` at most: normal numbers.

    Parameters have the deviation 0.1, as weights have.
    """
    random = np.random.default_rng(size % 1000)
    p, g = (random.standard_normal(min(size, BLOCK)).astype(dtype) for _ in range(2))
    return p * p.dtype.type(0.1), g


def start_weights(sizes: Sequence[int]) -> list[Array]:
    """Return W₁ (inputs × outputs), b₁, W₂, … in float32: He et al.'s deviation, and zeros."""
    random = np.random.default_rng(0)
    arrays: list[Array] = []
    for inputs, outputs in pairwise(sizes):
        arrays.append((random.standard_normal((inputs, outputs)) * math.sqrt(2.0 / inputs)).astype(np.float32))
        arrays.append(np.zeros(outputs, np.float32))
    return arrays


def training_data(case: TrainCase) -> tuple[Array, Array]:
    """Return float32 images and int64 classes: a pattern for each class, four of five pixels black, as digits are.

    One label in twenty is drawn at random, so that the loss does not fall to zero.
    """
    random = np.random.default_rng(1)
    features, classes = case.sizes[0], case.sizes[-1]
    y = random.integers(0, classes, case.rows)
    pattern = random.random((classes, features)) < 0.2
    seen = random.random((case.rows, features)) < 0.7
    x = np.where(pattern[y] & seen, random.random((case.rows, features)), 0.0)
    noisy = random.random(case.rows) < 0.05
    y[noisy] = random.integers(0, classes, int(noisy.sum()))
    return x.astype(np.float32), y.astype(np.int64)
