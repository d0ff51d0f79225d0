"""Training steps in C: what :class:`Trainer` promises, through cffi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._c import ffi, lib
from ..elements import ACTIVATIONS, LOSSES, Activation, ElementLoss, Loss
from ..rules import Sweep
from .c_compile import user_element_address
from .c_storage import C_TYPES, address, salts_of, storage_code
from .network import Array, DenseSpec, NetworkSpec
from .storage import Storage
from .threads import is_forked_child

__all__ = ["CNetwork", "CTrainer"]

_ALIGNMENT = 64


class CNetwork:
    """A network as the C library takes it, and the memory that its training works in.

    Parameters
    ----------
    network
        The layers and the loss.
    dtype
        Of the arithmetic.
    level
        The vector width that functions of the user's are compiled for.

    Raises
    ------
    ValueError, TranslationError
        An activation or the loss is not built in, and cannot be compiled.
    """

    def __init__(self, network: NetworkSpec, dtype: np.dtype[Any], level: int) -> None:
        name = ffi.string(lib.fastopt_level_name(level if level >= 0 else lib.fastopt_level_count() - 1)).decode()
        real, self.suffix = C_TYPES[dtype.name]
        self._layers = ffi.new("fastopt_layer[]", [_layer(layer, name) for layer in network.layers])
        self.network = ffi.new(
            "fastopt_network *", [self._layers, _loss(network.loss, name), len(network.layers), network.kink]
        )
        self._array = f"{real}[]"
        self._bytes = getattr(lib, f"fastopt_train_workspace_{self.suffix}")
        self._workspace = np.empty(0, np.uint8)

    def reals(self, array: Array) -> Any:
        """Return a pointer to the array's numbers."""
        return ffi.from_buffer(self._array, array)

    def pointers(self, arrays: Sequence[Array]) -> Any:
        """Return pointers to the elements of the arrays; the arrays have to be kept."""
        return ffi.new("void *[]", [address(array) for array in arrays])

    def data(self, inputs: Array, targets: Array, rows: NDArray[np.int64]) -> tuple[Any, ...]:
        """Return inputs, labels, values, rows and the number of rows."""
        labelled = targets.ndim == 1
        return (
            self.reals(inputs),
            ffi.from_buffer("int64_t[]", targets) if labelled else ffi.NULL,
            ffi.NULL if labelled else self.reals(targets),
            ffi.from_buffer("int64_t[]", rows),
            len(rows),
        )

    def room(self, batch: int, threads: int, more: int = 0) -> Any:
        """Return an aligned workspace for that batch and so many more bytes, a new one only when it has to grow."""
        wanted = self._bytes(self.network, batch, threads) + more + _ALIGNMENT
        if wanted > self._workspace.size:
            self._workspace = np.empty(wanted, np.uint8)
        address = ffi.cast("char *", ffi.from_buffer(self._workspace))
        return address + -int(ffi.cast("uintptr_t", address)) % _ALIGNMENT


class CTrainer:
    """Steps of one network under the rule of `handle`.

    Parameters
    ----------
    network
        The layers and the loss.
    handle, sweep
        The C library's rule, and the sweep that it is; NULL and None to compute gradients only.
    storage
        Of the buffers.
    threads, level
        As the C library takes them.

    Errors are those of :class:`CNetwork`.
    """

    def __init__(
        self, network: NetworkSpec, handle: Any, sweep: Sweep | None, storage: Storage, threads: int, level: int
    ) -> None:
        self._network = CNetwork(network, storage.arithmetic, level)
        self._handle, self._threads, self._level = handle, threads, level
        self._train = getattr(lib, f"fastopt_train_{self._network.suffix}")
        self._storage, self._salts = storage_code(storage), ffi.NULL if sweep is None else salts_of(sweep, storage)
        self._loss, self._correct = ffi.new("double *"), ffi.new("int64_t *")

    def __call__(
        self,
        buffers: Sequence[Array],
        gradients: Array | None,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        coefficients: Array | None,
        loss: float,
    ) -> tuple[float, int]:
        """Take the steps; see :class:`Trainer`."""
        self._loss[0] = loss
        network, threads = self._network, 1 if is_forked_child() else self._threads
        status = self._train(
            network.network,
            self._handle,
            network.reals(buffers[0]),
            ffi.NULL if gradients is None else network.reals(gradients),
            network.pointers(buffers[1:]),
            *network.data(inputs, targets, rows),
            batch,
            ffi.NULL if coefficients is None else network.reals(coefficients),
            network.room(batch, threads),
            self._loss,
            self._correct,
            self._storage,
            self._salts,
            threads,
            self._level,
        )
        if status != lib.FASTOPT_OK:
            raise RuntimeError(f"the C library refused the training step with status {status}; see fastopt.h")
        return self._loss[0], self._correct[0]


def _layer(layer: DenseSpec, level: str) -> tuple[int, int, int, Any]:
    return layer.inputs, layer.outputs, layer.offset, _activation(layer.activation, level)


def _activation(activation: Activation, level: str) -> Any:
    if ACTIVATIONS.get(activation.name) is activation:
        return lib.fastopt_find_activation(activation.name.encode())
    return ffi.cast("const fastopt_activation *", user_element_address(activation, level))


def _loss(loss: Loss, level: str) -> Any:
    if LOSSES.get(loss.name) is loss:
        return lib.fastopt_find_loss(loss.name.encode())
    assert isinstance(loss, ElementLoss)  # a loss of rows is built in
    return ffi.cast("const fastopt_loss *", user_element_address(loss, level))
