"""Training steps in C: what :class:`Trainer` promises, through cffi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._c import ffi, lib
from .c_storage import address
from .network import ACTIVATION_CODES, LOSS_CODES, Array, NetworkSpec
from .threads import is_forked_child

__all__ = ["CTrainer"]

_ALIGNMENT = 64


class CTrainer:
    """Steps of one network under the rule of `handle`.

    Parameters
    ----------
    network
        The layers and the loss.
    handle
        The C library's rule.
    real, suffix
        C's name of the dtype, and the ending of its functions.
    threads, level
        As the C library takes them.
    storage
        Where the states lie as bfloat16, what :func:`.c_storage.storage_given` returns.
    """

    def __init__(
        self,
        network: NetworkSpec,
        handle: Any,
        real: str,
        suffix: str,
        threads: int,
        level: int,
        storage: tuple[Any, Any] = (None, None),
    ) -> None:
        self._storage, self._salts = storage
        self._layers = ffi.new("fastopt_layer[]", [_layer(layer) for layer in network.layers])
        self._network = ffi.new(
            "fastopt_network *", [self._layers, len(network.layers), LOSS_CODES[network.loss], network.kink]
        )
        self._handle, self._real, self._threads, self._level = handle, real, threads, level
        self._train = getattr(lib, f"fastopt_train_{suffix}")
        self._bytes = getattr(lib, f"fastopt_train_workspace_{suffix}")
        self._workspace = np.empty(0, np.uint8)
        self._loss, self._correct = ffi.new("double *"), ffi.new("int64_t *")

    def __call__(
        self,
        buffers: Sequence[Array],
        gradients: Array | None,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        coefficients: Array,
        loss: float,
    ) -> tuple[float, int]:
        """Take the steps; see :class:`Trainer`."""
        self._loss[0] = loss
        p, *states = (ffi.cast(f"{self._real} *", address(buffer)) for buffer in buffers)
        labelled = targets.ndim == 1
        threads = 1 if is_forked_child() else self._threads
        status = self._train(
            self._network,
            self._handle,
            p,
            ffi.NULL if gradients is None else self._reals(gradients),
            ffi.new(f"{self._real} *[]", states),
            self._reals(inputs),
            ffi.from_buffer("int64_t[]", targets) if labelled else ffi.NULL,
            ffi.NULL if labelled else self._reals(targets),
            ffi.from_buffer("int64_t[]", rows),
            len(rows),
            batch,
            self._reals(coefficients),
            self._room(batch, threads),
            self._loss,
            self._correct,
            self._storage or ffi.NULL,
            threads,
            self._level,
        )
        if status != lib.FASTOPT_OK:
            raise RuntimeError(f"the C library refused the training step with status {status}; see fastopt.h")
        return self._loss[0], self._correct[0]

    def _reals(self, array: Array) -> Any:
        return ffi.from_buffer(f"{self._real}[]", array)

    def _room(self, batch: int, threads: int) -> Any:
        """Return the aligned workspace for that batch, which is made anew only when it has to grow."""
        wanted = self._bytes(self._network, batch, threads) + _ALIGNMENT
        if wanted > self._workspace.size:
            self._workspace = np.empty(wanted, np.uint8)
        address = ffi.cast("char *", ffi.from_buffer(self._workspace))
        return address + -int(ffi.cast("uintptr_t", address)) % _ALIGNMENT


def _layer(layer: Any) -> tuple[int, int, int, int]:
    return layer.inputs, layer.outputs, layer.offset, ACTIVATION_CODES[layer.activation]
