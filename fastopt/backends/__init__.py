"""What runs passes: ``numba``, ``c``, ``cuda``, ``reference``. Nothing heavy is imported before one is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from .._errors import unknown_name
from .network import DenseSpec, NetworkSpec, Trainer
from .plan import CONSTANTS, Plan
from .protocol import Backend, Coefficients, Device, Kernel, MatMul, Numbers, Run
from .rounding import key_of
from .source import number_count
from .staged import SpanSpec, StagedTrainer, StagedUpdate
from .storage import ROUNDINGS, Storage, storage_of
from .threads import available_cores

__all__ = [
    "BACKENDS",
    "CONSTANTS",
    "ROUNDINGS",
    "Backend",
    "Coefficients",
    "DenseSpec",
    "Device",
    "Kernel",
    "MatMul",
    "NetworkSpec",
    "Numbers",
    "Plan",
    "Run",
    "SpanSpec",
    "StagedTrainer",
    "StagedUpdate",
    "Storage",
    "Trainer",
    "available_cores",
    "backend_of",
    "default_backend",
    "describe_backend",
    "get_backend",
    "key_of",
    "number_count",
    "storage_of",
    "why_missing",
]

BACKENDS = {
    "numba": ("numba", "NumbaBackend", "pip install numba"),
    "c": ("c", "CBackend", "install a C compiler, then install fastopt again from its source"),
    "cuda": ("cuda.backend", "CudaBackend", "it needs an NVIDIA GPU with its driver, and pip install 'fastopt[cuda]'"),
    "reference": ("reference", "ReferenceBackend", ""),
}
"""Name to module, class, and what to do where it is missing; see :func:`default_backend`."""


@cache
def get_backend(name: str | None = None) -> Backend:
    """Return the backend of that name, or the default one.

    Raises
    ------
    ValueError
        There is no backend of that name.
    ImportError
        It is not installed; the message says what to do.

    Examples
    --------
    >>> get_backend("reference").name
    'reference'
    """
    name = default_backend() if name is None else name
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    module, kind, remedy = BACKENDS[name]
    try:
        backend: Backend = getattr(import_module(f"{__name__}.{module}"), kind)()
    except ImportError as error:
        raise ImportError(f"the {name} backend is missing: {error}; {remedy}") from error
    return backend


def backend_of(given: str | Backend | None) -> Backend:
    """Return the backend of that name, the default one, or the given one itself.

    Raises
    ------
    TypeError
        It is neither a name nor a backend.
    """
    if given is None or isinstance(given, str):
        return get_backend(given)
    if isinstance(given, type) or not all(hasattr(given, name) for name in ("device", "kernel", "matmul")):
        raise TypeError(f"backend: got {given!r}, expected one of {', '.join(BACKENDS)}, or a backend that was made")
    return given


@cache
def why_missing(name: str) -> str | None:
    """Return why a backend cannot be used here; None when it can."""
    try:
        get_backend(name)
    except ImportError as error:
        return str(error)
    return None


def describe_backend(name: str) -> str:
    """Return one line on a backend that is there: vector widths, threading layer."""
    return get_backend(name).describe()


def default_backend() -> str:
    """Return the name of the first compiled backend that is there.

    Raises
    ------
    ImportError
        There is none. The reference backend, float64 and slow, must be asked for by name.
    """
    reasons = {name: why_missing(name) for name in ("numba", "c")}
    for name, reason in reasons.items():
        if reason is None:
            return name
    raise ImportError(
        f"no compiled backend: {'; '.join(filter(None, reasons.values()))}. "
        "backend='reference' works everywhere, slowly"
    )
