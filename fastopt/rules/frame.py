"""Frames: where each number of a step lies in a row of float64, for code that computes the numbers of a rule.

A span, a part of the buffers with one set of numbers, has one frame. It holds the sums and numbers of the rule first,
then what is given for the step: what is done to the gradient, the decay and the coefficients of the rule. A memory of
the rule stays in its place from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._constants import KEY_NUMBERS
from .limits import GRADIENT_FACTOR, is_limited
from .numbers import TOTAL, Number
from .rule import Rule
from .stages import Sweep

__all__ = ["GIVEN", "Frame", "Loop", "frame_of", "loops_of"]

_ONE, _INFINITY, _ZERO = "1", "inf", "0"
_CLIP, _DECAY = "clip_value of the prelude", ("weight_decay of the prelude", "decay_factor of the prelude")
_LIMITS = ("scale", "max_norm", "max_segment_norm")
_KEY = tuple(f"number {k} of the key" for k in range(KEY_NUMBERS))

GIVEN = (_ONE, _INFINITY, _ZERO, _CLIP, *_LIMITS, *_DECAY, *_KEY)
"""What is given for a step apart from the coefficients: numbers of a prelude that does nothing, what is done to the
gradient, the decay, and the key that stores are rounded at random with. Numbers of a rule can name the limits only, so
that a coefficient may be `clip_value`."""


@dataclass(frozen=True)
class Frame:
    """The places of a rule's numbers.

    Attributes
    ----------
    places
        Name to place.
    given
        Names of what is given for each step, at the last places, in order: :data:`GIVEN`, then coefficients.
    memory
        Names of what the rule keeps from step to step.
    preludes
        For each stage, the names of the prelude's numbers; none for a stage that is no sweep.
    """

    places: dict[str, int]
    given: tuple[str, ...]
    memory: tuple[str, ...]
    preludes: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> int:
        """How many numbers a frame has."""
        return len(self.places)

    def numbers_of(self, rule: Rule, stage: int, *, with_key: bool) -> tuple[int, ...]:
        """Return the places of the numbers that a stage takes: those of the prelude, its own, and the key."""
        names = (*self.preludes[stage], *rule.stages[stage].numbers, *(_KEY if with_key else ()))
        return tuple(self.places[name] for name in names)


def frame_of(rule: Rule) -> Frame:
    """Return the frame of a rule."""
    memory = tuple(number.name for number in rule.numbers if number.start is not None)
    sums = [name for stage in rule.stages for name in stage.sums]
    given = dict.fromkeys((*GIVEN, *rule.coefficients_at(1)))
    computed = dict.fromkeys(name for name in (*sums, *(number.name for number in rule.numbers)) if name not in given)
    places = {name: place for place, name in enumerate((*computed, *given))}
    return Frame(places, tuple(given), memory, _preludes(rule))


def _preludes(rule: Rule) -> tuple[tuple[str, ...], ...]:
    """Return the names of the prelude's numbers for each stage.

    The stage that measures the gradient sees it as it is. Decay acts until a stage has written the parameters.
    """
    scale = GRADIENT_FACTOR if is_limited(rule) else "scale"
    preludes: list[tuple[str, ...]] = []
    decay = _DECAY
    for number, stage in enumerate(rule.stages):
        if not isinstance(stage, Sweep):
            preludes.append(())
        elif is_limited(rule) and number == 0:
            preludes.append((_ONE, _INFINITY, _ZERO, _ONE))
        else:
            preludes.append((scale, _CLIP, *decay))
            if "p" in stage.writes:
                decay = (_ZERO, _ONE)
    return tuple(preludes)


@dataclass(frozen=True)
class Loop:
    """Numbers that are computed span by span, when these sums or numbers were added up over all spans."""

    totals: tuple[str, ...]
    numbers: tuple[Number, ...]


def loops_of(numbers: Sequence[Number]) -> list[Loop]:
    """Return the loops that compute the numbers of one moment."""
    loops: list[tuple[dict[str, None], list[Number]]] = []
    for number in numbers:
        totals = [name.removeprefix(TOTAL) for name in number.parameters if name.startswith(TOTAL)]
        if not loops or any(known.name in totals for known in loops[-1][1]):
            loops.append(({}, []))
        loops[-1][0].update(dict.fromkeys(totals))
        loops[-1][1].append(number)
    return [Loop(tuple(totals), tuple(inner)) for totals, inner in loops]
