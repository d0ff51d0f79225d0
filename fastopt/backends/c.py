"""Kernels in C, through cffi: built-in rules were compiled when fastopt was installed, others are when first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._bfloat16 import arithmetic_dtype
from .._c import ffi, lib
from .._errors import unknown_name
from ..rules import Sweep
from ..translate import is_built_in
from .c_compile import user_rule_address
from .c_network import CTrainer
from .c_staged import CStagedTrainer, numbers_function
from .c_storage import C_TYPES, address, salts_of, storage_code
from .host import HostDevice
from .network import NetworkSpec, Trainer
from .protocol import Array, Kernel, MatMul, Run
from .staged import StagedTrainer, StagedUpdate
from .storage import Storage
from .threads import is_forked_child

__all__ = ["CBackend"]


class CBackend:
    """Runs the loops of ``csrc/``; serves where Numba does not exist.

    Parameters
    ----------
    level
        Name of the vector width, one of :meth:`levels`; the widest that this processor has when None.
    """

    name = "c"
    device = HostDevice()

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
        """Return the names of the built-in sweeps."""
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
        return arithmetic_dtype(dtype)

    def kernel(self, sweep: Sweep, storage: Storage, threads: int) -> Kernel:
        """Return the compiled pass; for a rule that is not built in, compiling takes a second the first time.

        Raises
        ------
        ValueError
            There is no C compiler for a rule that is not built in.
        TranslationError
            Its function contains something that C cannot say.
        """
        handle, level = self._handle(sweep), self._level
        kind, salts = storage_code(storage), salts_of(sweep, storage)

        def on(buffers: Sequence[Array], numbers: Array, sums: Array | None = None, position: int = 0) -> Run:
            named = {name: address(buffer) for name, buffer in zip(sweep.buffers, buffers, strict=True)}
            states, size = ffi.new("void *[]", [named[name] for name in sweep.states]), buffers[0].size
            room = np.empty(0 if sums is None else lib.fastopt_sums_size(handle, size))
            what = ffi.new(
                "fastopt_pass *",
                {
                    "rule": handle,
                    "size": size,
                    "p": named.get("p", ffi.NULL),
                    "g": named.get("g", ffi.NULL),
                    "states": states,
                    "numbers": address(numbers),
                    "sums": ffi.from_buffer("double[]", room),
                    "storage": kind,
                    "salts": salts,
                    "position": position,
                },
            )
            held = (named, states, numbers, room, salts)  # for as long as their addresses are in the structure
            run_pass, ok, results = lib.fastopt_run, lib.FASTOPT_OK, room.data[: len(sweep.sums)]

            def run(zero_grad: bool, _held: object = held) -> None:
                status = run_pass(what, zero_grad, 1 if is_forked_child() else threads, level)
                if status != ok:
                    raise RuntimeError(f"the C library refused the pass with status {status}; see fastopt.h")

            def run_and_copy(zero_grad: bool) -> None:
                run(zero_grad)
                places[:] = results

            if sums is None:
                return run
            places = sums.data
            return run_and_copy

        return on

    def _handle(self, sweep: Sweep) -> Any:
        """Return the C library's rule of a sweep: built in, or compiled now."""
        handle = lib.fastopt_find_rule(sweep.name.encode()) if is_built_in(sweep) else ffi.NULL
        if handle != ffi.NULL:
            return handle
        return ffi.cast("const fastopt_rule *", user_rule_address(sweep, self.levels()[self._level]))

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return the product of matrices in C."""
        real, suffix = C_TYPES[dtype.name]
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

    def trainer(self, network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer | None:
        """Return the training steps in C."""
        handle = ffi.NULL if sweep is None else self._handle(sweep)
        return CTrainer(network, handle, sweep, storage, threads, self._level)

    def staged_trainer(
        self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int
    ) -> StagedTrainer | None:
        """Return the training steps in C; None where numbers of a user's rule do not compile."""
        numbers = numbers_function(update)
        if numbers is None:
            return None
        handles = [self._handle(sweep) for sweep in update.sweeps]
        return CStagedTrainer(network, update, handles, numbers, storage, threads, self._level)
