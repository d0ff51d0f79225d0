"""First steps of a new process: a script that is run by its path, so that fastopt is not imported before it is timed.

``python -P fresh.py '{"kind": "step", "backend": "c", "threads": 2}'`` prints the seconds, or the bytes.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "first_fit", "first_step", "import_seconds", "training_memory"]

_PARAMETERS = 1000
_STEPS = 4


def import_seconds(**_: Any) -> float:
    """Return the seconds of ``import fastopt``, NumPy being there."""
    start = time.perf_counter()
    import fastopt  # noqa: F401

    return time.perf_counter() - start


def first_step(*, backend: str, threads: int, **_: Any) -> float:
    """Return the seconds of an optimizer's making and its first step."""
    import fastopt

    p, g = np.zeros(_PARAMETERS, np.float32), np.ones(_PARAMETERS, np.float32)
    start = time.perf_counter()
    fastopt.Optimizer(p, "adam", backend=backend, threads=threads).step(g)
    return time.perf_counter() - start


def first_fit(*, backend: str, threads: int, sizes: Sequence[int], batch: int, **_: Any) -> float:
    """Return the seconds of a network's making and its training on one batch."""
    import fastopt

    x, y = _data(sizes, batch)
    start = time.perf_counter()
    fastopt.MLP(sizes).fit(x, y, epochs=1, batch_size=batch, backend=backend, threads=threads)
    return time.perf_counter() - start


def training_memory(*, backend: str, threads: int, sizes: Sequence[int], batch: int, **_: Any) -> int:
    """Return the bytes by which an epoch raises the peak over the memory of data, parameters and states.

    Raises
    ------
    OSError
        The system does not let a process reset its peak.
    """
    _training_growth(backend, threads, (3, 2, 2), 1)  # loads compilers and libraries, whose memory is not training's
    return _training_growth(backend, threads, sizes, batch)


def _training_growth(backend: str, threads: int, sizes: Sequence[int], batch: int) -> int:
    from fastopt import MLP, Optimizer
    from fastopt.bench.machine import peak_memory, reset_peak_memory
    from fastopt.data import Dataset
    from fastopt.train import Training

    data = Dataset(*_data(sizes, _STEPS * batch), None, "synthetic", "arrays")
    model = MLP(sizes)
    optimizer = Optimizer(model.parameters, "adam", layout=model.layout, backend=backend, threads=threads)
    for state in optimizer.state.values():
        state.fill(0)  # zeros take no memory before they are written
    _give_back()
    if not reset_peak_memory():
        raise OSError(
            "got a system on which a process cannot reset its peak memory, expected Linux; leave out --kinds memory"
        )
    before = peak_memory()
    for _ in Training(model, optimizer, data, batch_size=batch, epochs=1).run(on_progress=lambda position: None):
        pass
    return peak_memory() - before


def _data(sizes: Sequence[int], rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(0)
    return random.random((rows, sizes[0]), np.float32), random.integers(0, sizes[-1], rows)


def _give_back() -> None:
    """Return freed memory to the system: training would use it first, and less growth would be seen."""
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


KINDS = {"import": import_seconds, "step": first_step, "fit": first_fit, "memory": training_memory}


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(KINDS[request.pop("kind")](**request)))
