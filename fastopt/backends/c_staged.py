"""Training by a rule of several sweeps in C: what :class:`StagedTrainer` promises, through cffi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._c import ffi, lib
from ..rules import TOTAL
from ..rules.frame import frame_of
from ..translate import TranslationError, built_in_schedules
from .c_compile import user_numbers_address
from .c_network import CNetwork
from .c_storage import salts_of, storage_code
from .network import NetworkSpec
from .protocol import Array
from .staged import Frames, StagedUpdate
from .storage import Storage
from .threads import is_forked_child

__all__ = ["CStagedTrainer", "numbers_function"]


def numbers_function(update: StagedUpdate) -> Any:
    """Return the C function that computes the numbers of an update, NULL where there are no numbers.

    Those of a user's rule are compiled now. None where they cannot be: Python then computes them, a step at a time.
    """
    numbers = update.rule.numbers
    if not numbers:
        return ffi.NULL
    used = {name.removeprefix(TOTAL) for number in numbers for name in (number.name, *number.parameters)}
    for name, rule in built_in_schedules().items():
        if rule.numbers == numbers:
            places = frame_of(rule).places
            if all(places[key] == update.frame.places[key] for key in used):
                return lib.fastopt_find_numbers(name.encode())
    try:
        return ffi.cast("fastopt_numbers *", user_numbers_address(update.rule))[0]
    except (ValueError, TranslationError):
        return None


class CStagedTrainer:
    """Steps of one network by the stages of a rule.

    Parameters
    ----------
    network
        The layers and the loss.
    update
        The stages and the spans.
    handles
        The C library's rule for each stage.
    numbers
        What :func:`numbers_function` gives.
    storage
        Of the buffers.
    threads, level
        As the C library takes them.
    """

    def __init__(
        self,
        network: NetworkSpec,
        update: StagedUpdate,
        handles: Sequence[Any],
        numbers: Any,
        storage: Storage,
        threads: int,
        level: int,
    ) -> None:
        self._network = CNetwork(network, storage.arithmetic, level)
        suffix = self._network.suffix
        self._threads, self._level = threads, level
        self._train = getattr(lib, f"fastopt_train_stages_{suffix}")
        self._frames = Frames(update)
        stages = [self._stage(update, number, handle, storage) for number, handle in enumerate(handles)]
        self._held = (
            ffi.new("fastopt_stage[]", stages),
            ffi.new("fastopt_span[]", list(map(tuple, update.spans))),
            stages,
        )
        self._stages = ffi.new(
            "fastopt_stages *",
            {
                "stages": self._held[0],
                "spans": self._held[1],
                "stage_count": len(stages),
                "span_count": len(update.spans),
                "group_count": 1 + max(span.group for span in update.spans),
                "moments": update.moments,
                "numbers": numbers,
                "frames": ffi.from_buffer("double[]", self._frames.values),
                "frame_size": update.frame.size,
                "given_size": len(update.frame.given),
                "storage": storage_code(storage),
                "by_layer": update.by_layer,
            },
        )
        self._bytes = getattr(lib, f"fastopt_stages_workspace_{suffix}")(self._stages)
        self._loss, self._correct = ffi.new("double *"), ffi.new("int64_t *")

    @staticmethod
    def _stage(update: StagedUpdate, number: int, handle: Any, storage: Storage) -> tuple[Any, ...]:
        sweep, places = update.sweeps[number], update.frame.places
        lists = (
            [update.states.index(name) for name in sweep.states],
            update.frame.numbers_of(update.rule, number, with_key=storage.is_random),
            [places[name] for name in sweep.sums],
        )
        return (handle, *(ffi.new("int[]", list(values)) for values in lists), salts_of(sweep, storage))

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
        """Take the steps; see :class:`StagedTrainer`."""
        self._loss[0] = loss
        network, threads = self._network, 1 if is_forked_child() else self._threads
        self._stages.given = ffi.from_buffer("double[]", given)
        self._frames.put_memory(memory)
        status = self._train(
            network.network,
            self._stages,
            network.reals(buffers[0]),
            network.reals(gradients),
            network.pointers(buffers[1:]),
            *network.data(inputs, targets, rows),
            batch,
            network.room(batch, threads, self._bytes),
            self._loss,
            self._correct,
            threads,
            self._level,
        )
        if status != lib.FASTOPT_OK:
            raise RuntimeError(f"the C library refused the training steps with status {status}; see fastopt.h")
        self._frames.take_memory(memory)
        return self._loss[0], self._correct[0]
