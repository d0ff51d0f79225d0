"""Kernels compiled when fastopt was installed: the C twins of the built-in rules, through cffi."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._c import ffi, lib
from .._errors import unknown_name
from ..rules import Rule
from .c_network import CTrainer
from .network import NetworkSpec, Trainer
from .protocol import Array, Kernel, Run, coefficient_count
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
        """Return the dtype of the coefficients: that of the buffers."""
        return dtype

    def kernel(self, rule: Rule, dtype: np.dtype[Any], threads: int) -> Kernel:
        """Return the compiled pass."""
        handle = self._handle(rule)
        real, suffix = _C_TYPES[dtype.name]
        update = getattr(lib, f"fastopt_update_{suffix}")
        array, level = f"{real}[]", self._level

        def on(buffers: Sequence[Array], coefficients: Array) -> Run:
            p, g, *states = [ffi.from_buffer(array, buffer) for buffer in buffers]
            table, own = ffi.new(f"{real} *[]", states), ffi.from_buffer(array, coefficients)
            size, ok = buffers[0].size, lib.FASTOPT_OK

            def run(zero_grad: bool, _held: list[Any] = states) -> None:
                now = 1 if is_forked_child() else threads
                status = update(handle, size, p, g, table, own, zero_grad, now, level)
                if status != ok:
                    raise RuntimeError(f"the C library refused the pass with status {status}; see fastopt.h")

            return run

        return on

    def _handle(self, rule: Rule) -> Any:
        handle = lib.fastopt_find_rule(rule.update.__name__.encode())
        if handle == ffi.NULL or not _is_twin(handle, rule):
            raise ValueError(
                f"the C backend has no body for rule {rule.name}; it has {', '.join(self.rules())}. "
                "A rule of your own runs on the numba backend: pip install numba"
            )
        return handle

    def trainer(self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int) -> Trainer | None:
        """Return the training steps in C."""
        return CTrainer(network, self._handle(rule), *_C_TYPES[dtype.name], threads, self._level)

    def sum_of_squares(self, values: Array, threads: int) -> Callable[[], float]:
        """Return what gives Σ x², in chunks of a fixed size that are added in order."""
        real, suffix = _C_TYPES[values.dtype.name]
        workspace = ffi.new("double[]", lib.fastopt_workspace_size(values.size))
        function = getattr(lib, f"fastopt_sum_of_squares_{suffix}")
        size, pointer = values.size, ffi.from_buffer(f"{real}[]", values)

        def run() -> float:
            return float(function(size, pointer, workspace, 1 if is_forked_child() else threads))

        return run


def _is_twin(handle: Any, rule: Rule) -> bool:
    """Return whether the C body is this rule's, not that of a built-in rule which a user's own has the name of."""
    return (
        rule.update.__module__.startswith("fastopt.rules.")
        and lib.fastopt_rule_states(handle) == len(rule.states)
        and lib.fastopt_rule_coefficients(handle) == coefficient_count(rule)
    )
