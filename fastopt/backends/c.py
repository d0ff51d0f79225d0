"""Kernels compiled when fastopt was installed: the C twins of the built-in rules, through cffi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._bfloat16 import state_dtype
from .._c import ffi, lib
from .._errors import unknown_name
from ..rules import Rule, Sweep
from . import c_storage
from .c_network import CTrainer
from .network import NetworkSpec, Trainer
from .protocol import Array, Kernel, MatMul, Run
from .storage import Storage, plain
from .threads import is_forked_child

__all__ = ["CBackend"]

_C_TYPES = {"float32": ("float", "f32"), "float64": ("double", "f64")}


class CBackend:
    """Runs the loops of ``csrc/``; serves where Numba does not exist.

    Parameters
    ----------
    level
        Name of the vector width, one of :meth:`levels`; the widest that this processor has when None.
    """

    name = "c"
    device = None

    def __init__(self, level: str | None = None) -> None:
        if level is not None and level not in self.levels():
            raise unknown_name("vector width", level, self.levels())
        self._level = lib.FASTOPT_BEST_LEVEL if level is None else self.levels().index(level)

    @staticmethod
    def levels() -> list[str]:
        """Return the vector widths that were compiled and that this processor runs, narrowest first."""
        return [ffi.string(lib.fastopt_level_name(k)).decode() for k in range(lib.fastopt_level_count())]

    @staticmethod
    def rules() -> list[str]:
        """Return the names of the updates that have a C body."""
        names = (lib.fastopt_rule_name(lib.fastopt_rule_at(k)) for k in range(lib.fastopt_rule_count()))
        return [ffi.string(name).decode() for name in names]

    @staticmethod
    def has_threads() -> bool:
        """Return whether the extension was built with OpenMP."""
        return bool(lib.fastopt_has_threads())

    def describe(self) -> str:
        """Return the vector widths and whether there are threads."""
        threads = "OpenMP" if self.has_threads() else "one thread: its compiler had no OpenMP"
        return f"vectors: {', '.join(self.levels())}; {threads}"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the coefficients: that of the buffers, float32 for bfloat16."""
        return state_dtype(dtype)

    def kernel(self, sweep: Sweep, dtype: np.dtype[Any], threads: int, storage: Storage | None = None) -> Kernel:
        """Return the compiled pass."""
        handle, storage = self._handle(sweep), storage or plain(dtype)
        if not storage.is_plain:
            return c_storage.kernel(handle, sweep, storage, threads, self._level)
        real, suffix = _C_TYPES[dtype.name]
        update = getattr(lib, f"fastopt_update_{suffix}")
        array, level = f"{real}[]", self._level

        def on(buffers: Sequence[Array], numbers: Array, sums: Array | None = None, position: int = 0) -> Run:
            named = {name: ffi.from_buffer(array, buffer) for name, buffer in zip(sweep.buffers, buffers, strict=True)}
            p, g, states = named.get("p", ffi.NULL), named.get("g", ffi.NULL), [named[name] for name in sweep.states]
            table, own, size = ffi.new(f"{real} *[]", states), ffi.from_buffer(array, numbers), buffers[0].size
            room = ffi.NULL if sums is None else np.empty(lib.fastopt_sums_size(handle, size))
            place = ffi.NULL if sums is None else ffi.from_buffer("double[]", room)
            ok = lib.FASTOPT_OK

            def run(zero_grad: bool, _held: list[Any] = states) -> None:
                now = 1 if is_forked_child() else threads
                status = update(handle, size, p, g, table, own, zero_grad, place, now, level)
                if status != ok:
                    raise RuntimeError(f"the C library refused the pass with status {status}; see fastopt.h")

            def run_and_copy(zero_grad: bool) -> None:
                run(zero_grad)
                sums[:] = room[: len(sums)]  # type: ignore[index, arg-type]

            return run if sums is None else run_and_copy

        return on

    def _handle(self, sweep: Sweep) -> Any:
        handle = lib.fastopt_find_rule(sweep.name.encode())
        if handle == ffi.NULL or not sweep.update.__module__.startswith("fastopt.rules."):
            raise ValueError(
                f"the C backend has no body for rule {sweep.name}; it has {', '.join(self.rules())}. "
                "A rule of your own runs on the numba backend: pip install numba"
            )
        return handle

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return the product of matrices in C."""
        real, suffix = _C_TYPES[dtype.name]
        multiply, array, level = getattr(lib, f"fastopt_matmul_{suffix}"), f"{real}[]", self._level

        def matmul(a: Array, b: Array) -> Array:
            transposed = not b.flags.c_contiguous and b.T.flags.c_contiguous
            a, b = np.ascontiguousarray(a, dtype), b.T if transposed else np.ascontiguousarray(b, dtype)
            (rows, depth), columns = a.shape, b.shape[0 if transposed else 1]
            out = np.empty((rows, columns), dtype)
            operands = (ffi.from_buffer(array, matrix) for matrix in (a, b))
            now = 1 if is_forked_child() else threads
            status = multiply(rows, columns, depth, *operands, transposed, ffi.from_buffer(array, out), now, level)
            if status != lib.FASTOPT_OK:
                raise MemoryError(f"the C library refused the product with status {status}; see fastopt.h")
            return out

        return matmul

    def trainer(
        self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int, storage: Storage | None = None
    ) -> Trainer | None:
        """Return the training steps in C."""
        sweep, given = rule.stages[0], (None, None)
        assert isinstance(sweep, Sweep)
        if storage and not storage.is_plain:
            given = c_storage.storage_given(sweep, storage, 0)
        return CTrainer(network, self._handle(sweep), *_C_TYPES[dtype.name], threads, self._level, given)
