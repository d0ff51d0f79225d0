"""The backend to compare with: the rule's own functions on whole NumPy arrays, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._bfloat16 import is_bfloat16
from ..rules import Sweep, prelude, vocabulary
from .functions import substituted
from .host import HostDevice
from .network import NetworkSpec, Trainer
from .protocol import Array, Kernel, MatMul, Run
from .rounding import random_bits, rounded, salt_of
from .staged import StagedTrainer, StagedUpdate
from .storage import Storage

__all__ = ["ReferenceBackend"]

_ON_ARRAYS: dict[Any, Any] = {
    vocabulary.clip: np.clip,
    vocabulary.sign: np.sign,
    vocabulary.where: np.where,
    math.sqrt: np.sqrt,
    math: np,
}


class ReferenceBackend:
    """Float64 arithmetic whatever the buffers hold, rounded when it is stored; slow, obvious, and in one thread."""

    name = "reference"
    device = HostDevice()

    def describe(self) -> str:
        """Return what it is."""
        return "float64 NumPy, for comparison"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return float64."""
        return np.dtype(np.float64)

    def kernel(self, sweep: Sweep, storage: Storage, threads: int) -> Kernel:
        """Return the pass as NumPy calls."""
        update, scaled, decayed = (
            substituted(function, _ON_ARRAYS) for function in (sweep.update, prelude.scaled, prelude.decayed)
        )

        def on(buffers: Sequence[Array], numbers: Array, sums: Array | None = None, position: int = 0) -> Run:
            named = dict(zip(sweep.buffers, buffers, strict=True))

            def run(zero_grad: bool) -> None:
                values = {name: buffer.astype(np.float64) for name, buffer in named.items()}
                grad_scale, clip_value, weight_decay, decay_factor, *own = numbers
                given, key = dict(zip(sweep.numbers, own, strict=False)), own[len(sweep.numbers) :]
                if sweep.has_prelude and "g" in values:
                    values["g"] = scaled(values["g"], grad_scale=grad_scale, clip_value=clip_value)
                if sweep.has_prelude and "p" in values:
                    decay = {"weight_decay": weight_decay, "decay_factor": decay_factor}
                    p, g = decayed(values["p"], values.get("g", 0.0), **decay)
                    values |= {"p": p} | ({"g": g} if "g" in values else {})
                _store(sweep, named, _results(sweep, update, values, given), sums, key, position)
                if zero_grad:
                    named["g"].fill(0)

            return run

        return on

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return NumPy's product."""
        return np.matmul

    def trainer(self, network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer | None:
        """Return None: the network's own NumPy code is the reference."""
        return None

    def staged_trainer(
        self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int
    ) -> StagedTrainer | None:
        """Return None, as :meth:`trainer` does."""
        return None


def _results(sweep: Sweep, update: Callable[..., Any], values: dict[str, Array], numbers: dict[str, Any]) -> Any:
    try:
        results = update(**values, **numbers)
    except ValueError as error:
        raise ValueError(
            f"rule {sweep.name}: the reference backend runs it on whole arrays and met {error}; "
            "write where(condition, a, b) for a branch"
        ) from error
    return results if len(sweep.writes) + len(sweep.sums) > 1 else (results,)


def _store(
    sweep: Sweep,
    buffers: dict[str, Array],
    results: Sequence[Any],
    sums: Array | None,
    key: Sequence[float],
    position: int,
) -> None:
    written = len(sweep.writes)
    for name, result in zip(sweep.writes, results[:written], strict=True):
        buffer = buffers[name]
        if is_bfloat16(buffer):
            random = random_bits(key, salt_of(name), position, buffer.size) if key else None
            with np.errstate(over="ignore"):
                buffer.view(np.uint16)[:] = rounded(np.asarray(result).astype(np.float32), random)
        else:
            buffer[:] = result
    for place, (a, b) in enumerate(results[written:]):
        assert sums is not None
        sums[place] = np.sum(np.multiply(a, b))
