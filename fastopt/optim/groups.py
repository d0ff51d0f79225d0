"""Hyper-parameters by group of segments, and the coefficients that the passes of a step get out of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name
from ..backends import coefficient_count
from ..rules import Hyper, Rule, check_hyper

__all__ = ["Groups"]

Array = NDArray[Any]


class Groups:
    """The hyper-parameters of each group: those of all, and what differs.

    Attributes
    ----------
    hyper : dict
        Those of every group that does not say otherwise.
    """

    def __init__(
        self, rule: Rule, names: Iterable[str], hyper: Mapping[str, Any], differing: Mapping[str, Mapping[str, Any]]
    ) -> None:
        names = set(names)
        for group in differing:
            if group not in names:
                raise unknown_name("group", group, names)
        self._rule, self._decoupled = rule, rule.decay == "decoupled"
        self.hyper = check_hyper(rule, hyper)
        self._of = {name: check_hyper(rule, {**self.hyper, **differing.get(name, {})}) for name in names}
        self._arrange()

    def __contains__(self, name: str) -> bool:
        return name in self._of

    @property
    def lr(self) -> float:
        """The learning rate of all; setting it sets it in every group."""
        lr = self.hyper["lr"]
        assert isinstance(lr, float)
        return lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.hyper = check_hyper(self._rule, {**self.hyper, "lr": value})
        for own in self._of.values():
            own["lr"] = self.hyper["lr"]
        self._arrange()

    def replace(self, hyper: dict[str, Hyper]) -> None:
        """Take other hyper-parameters for all; what differs in a group stays."""
        for own in self._of.values():
            own.update({name: hyper[name] for name, value in self.hyper.items() if own[name] == value})
        self.hyper = hyper
        self._arrange()

    def kind(self, name: str) -> object:
        """Return what two groups have in common whose coefficients are alike."""
        return sorted(self._of[name].items())

    def coefficients(self, name: str, t: int, lr_scale: float, factor: float, clip_value: float) -> tuple[float, ...]:
        """Return what the passes of step t take whose gradients are to be multiplied by the factor."""
        at_step, lr, weight_decay = self._steps[name]
        lr *= lr_scale
        if self._decoupled:
            return (factor, clip_value, 0.0, 1.0 - lr * weight_decay, *at_step(t, lr))
        return (factor, clip_value, weight_decay, 1.0, *at_step(t, lr))

    def table(
        self,
        names: Sequence[str],
        t: int,
        lr_scales: Sequence[float],
        factor: float,
        clip_value: float,
        dtype: np.dtype[Any],
    ) -> Array:
        """Return the coefficients of the steps from t on, of shape (steps, names, coefficients)."""
        table = np.empty((len(lr_scales), len(names), coefficient_count(self._rule)), dtype)
        for place, name in enumerate(names):
            same = next((k for k, other in enumerate(names[:place]) if self._of[other] == self._of[name]), None)
            if same is None:
                steps = enumerate(lr_scales, t)
                table[:, place] = [self.coefficients(name, at, scale, factor, clip_value) for at, scale in steps]
            else:
                table[:, place] = table[:, same]
        return table

    def _arrange(self) -> None:
        """Lay out for each group what gives its rule's coefficients, its learning rate and its weight decay."""
        self._steps = {}
        for name, hyper in self._of.items():
            lr, weight_decay = hyper["lr"], hyper["weight_decay"]
            assert isinstance(lr, float)
            assert isinstance(weight_decay, float)
            self._steps[name] = (self._rule.steps_with(hyper), lr, weight_decay)
