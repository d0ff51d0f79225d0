"""A step on a device: norms are limited there, then passes run, each a launch, or all of them one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Device, Run
from .spans import Spans

__all__ = ["Launches"]

Array = NDArray[Any]


class Launches:
    """What an optimizer's step launches on a device, over the gradients that its spans are bound to."""

    def __init__(self, device: Device, spans: Spans, dtype: np.dtype[Any]) -> None:
        self._device, self._spans, self._dtype = device, spans, dtype
        self._limiter: Callable[[Sequence[Array]], Callable[[], None]] | None = None

    def allot(self) -> None:
        """Take the memory that limits of norms need; none can be had while a graph is captured."""
        if self._limiter is None and self._spans.list:
            sizes = [span.size for span in self._spans.list]
            self._limiter = self._device.limits(sizes, self._dtype, self._spans.table)

    def run(self, *, limited: bool, zero_grad: bool) -> None:
        """Launch a step whose coefficients have been sent."""
        _launch(self._limit_of_bound() if limited else None, [span.run for span in self._spans.list], zero_grad)

    def capture(self, *, limited: bool, zero_grad: bool) -> Callable[[], None]:
        """Return what launches the same as :meth:`run`, over the gradients of now, in one go."""
        limit = self._limit_of_bound() if limited else None
        runs = [span.run for span in self._spans.list]
        return self._device.capture(lambda: _launch(limit, runs, zero_grad), self._spans.buffer)

    def _limit_of_bound(self) -> Callable[[], None] | None:
        """Return what limits the norms of the gradients at hand."""
        self.allot()
        if self._spans.limit is None and self._limiter is not None:
            self._spans.limit = self._limiter([span.gradients for span in self._spans.list])
        return self._spans.limit


def _launch(limit: Callable[[], None] | None, runs: Sequence[Run], zero_grad: bool) -> None:
    if limit is not None:
        limit()
    for run in runs:
        run(zero_grad)
