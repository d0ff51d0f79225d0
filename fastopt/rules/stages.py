"""The stages of a rule: sweeps over elements, and functions of whole matrices.

Before a stage runs, its numbers are known: coefficients of the step, numbers computed from the sums of earlier stages,
and the rule's memory; see :mod:`.numbers`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["MatrixStage", "Stage", "Sweep", "matrix_stage_of", "sweep_of"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A scalar function that is applied to every element of the buffers that it takes.

    Attributes
    ----------
    name
        What it is called in C and in messages: for a rule's first sweep as the function, for others as the rule and the
        function.
    update
        ``update(*buffers, *, number, ...)``, which returns the new value of each buffer in `writes`, then one term for
        each of `sums`.
    buffers
        The buffers that it takes, of ``p``, ``g`` and the states.
    writes
        Those of them that it gives new values, in the order of the result.
    numbers
        The numbers that it takes.
    sums
        Names of sums over the elements of a segment. The term of an element is a pair (a, b), which stands for the
        product a·b; it is added in float64, in an order that depends on the size of the segment only.
    has_prelude
        Whether it is given g and p after :mod:`.prelude`, or as they lie in memory.
    """

    name: str
    update: Callable[..., Any]
    buffers: tuple[str, ...]
    writes: tuple[str, ...]
    numbers: tuple[str, ...]
    sums: tuple[str, ...] = ()
    has_prelude: bool = True

    @property
    def states(self) -> tuple[str, ...]:
        """The buffers that are neither the parameters nor the gradient."""
        return tuple(buffer for buffer in self.buffers if buffer not in ("p", "g"))

    def numbered(self) -> Sweep:
        """Return the sweep with states called ``state_0`` and so on: names that generated code has for nothing else."""
        names = {state: f"state_{k}" for k, state in enumerate(self.states)}
        return replace(
            self,
            buffers=tuple(names.get(buffer, buffer) for buffer in self.buffers),
            writes=tuple(names.get(buffer, buffer) for buffer in self.writes),
            sums=tuple(f"sum_{k}" for k in range(len(self.sums))),
        )

    @property
    def words(self) -> int:
        """How many numbers it reads and writes for each element."""
        return len(self.buffers) + len(self.writes)


@dataclass(frozen=True, eq=False)
class MatrixStage:
    """A function of one buffer's segments that are matrices; other segments are left as they are.

    Attributes
    ----------
    name
        What the function is called in messages.
    function
        ``function(matrix, matmul, *, number, ...)``, which returns the new matrix. A matrix has a ``shape``, its
        transpose ``T``, and takes part in sums and in products with numbers; ``matmul(a, b)`` multiplies two of them.
    buffer
        The name of the buffer.
    numbers
        The numbers that it takes.
    """

    name: str
    function: Callable[..., Any]
    buffer: str
    numbers: tuple[str, ...]

    sums: tuple[str, ...] = ()


Stage = Sweep | MatrixStage


def sweep_of(
    name: str, update: Callable[..., Any], sums: tuple[str, ...] = (), writes: tuple[str, ...] | None = None
) -> Sweep:
    """Return the sweep that a function ``(p, g, state, ..., *, number, ...)`` describes.

    Raises
    ------
    TypeError
        Its signature is not of that form, or it writes what it does not take.
    """
    positional, keyword = _parameters(update)
    first = [name for name in ("p", "g") if name in positional]
    if not first or positional[: len(first)] != first:
        raise TypeError(
            f"rule {name}: got the signature {inspect.signature(update)}, "
            "expected (p, g, state, ..., *, coefficient, ...), for example (p, g, velocity, *, lr=0.01, beta=0.9)"
        )
    buffers = tuple(positional)
    writes = tuple(buffer for buffer in buffers if buffer != "g") if writes is None else writes
    for buffer in writes:
        if buffer not in buffers or buffer == "g":
            raise TypeError(f"rule {name}: writes {buffer!r}, expected buffers that {update.__name__} takes, and not g")
    return Sweep(name, update, buffers, writes, tuple(keyword), sums)


def matrix_stage_of(rule: str, function: Callable[..., Any]) -> MatrixStage:
    """Return the stage that a function ``(buffer, matmul, *, number, ...)`` describes.

    Raises
    ------
    TypeError
        Its signature is not of that form.
    """
    positional, keyword = _parameters(function)
    if len(positional) != 2 or positional[1] != "matmul":
        raise TypeError(
            f"rule {rule}: got the signature {inspect.signature(function)}, expected (buffer, matmul, *, number, ...)"
        )
    return MatrixStage(function.__name__, function, positional[0], tuple(keyword))


def _parameters(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Return the names of positional and of keyword-only parameters; no positional ones where there are others."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return (positional if len(positional) + len(keyword) == len(parameters) else []), keyword
