"""The contenders by name: what each needs, and which cases it runs. :func:`register` adds one.

A contender's module is imported only in the process in which the contender runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import packages_distributions
from typing import Any

from ..._errors import unknown_name
from ..cases import KINDS, MOVED, GpuCase, StepCase, TrainCase
from .base import DeviceStepper, Stepper, Trainer

__all__ = [
    "CONTENDERS",
    "Contender",
    "choose_peers",
    "device_stepper",
    "distributions",
    "make_stepper",
    "make_trainer",
    "own_contenders",
    "peers",
    "register",
    "why_missing",
]


@dataclass(frozen=True)
class Contender:
    """A library in one configuration.

    Attributes
    ----------
    name
        Its name in tables and for ``--peers``.
    module
        The module that has its classes: ``Stepper`` (a subclass of :class:`~fastopt.bench.Stepper`, or on a GPU of
        :class:`~fastopt.bench.DeviceStepper`), ``Trainer`` (of :class:`~fastopt.bench.Trainer`), or both. A function
        ``why_missing()`` in it may return the reason why it cannot run on this machine.
    role
        ``"peer"`` for another library. ``"own"`` is fastopt, ``"roof"`` and ``"device"`` are bounds that the machine
        sets, ``"twin"`` is the same pass written in CUDA C, and ``"variant"`` is another form of one of fastopt's
        kernels, which takes part only where it is named.
    needs
        Modules without which it is missing.
    options
        Keyword arguments of its classes, of types that JSON has.
    rules, dtypes, kinds
        The step cases that it runs; None as `rules` stands for all rules, those of users included.
    trains
        Whether it runs training cases.
    device
        Where it computes: ``"cpu"`` or ``"cuda"``.
    """

    name: str
    module: str
    role: str = "peer"
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] | None = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    kinds: tuple[str, ...] = ("step", "clip", "denormal", "overhead")
    trains: bool = False
    device: str = "cpu"

    @property
    def steps(self) -> bool:
        """Whether it runs step cases at all."""
        return self.rules is None or len(self.rules) > 0

    def runs(self, case: StepCase | GpuCase | TrainCase) -> bool:
        """Return whether the case is one for this contender."""
        if isinstance(case, TrainCase):
            return self.trains
        known = self.rules is None or case.rule in self.rules
        here = (self.device == "cuda") == isinstance(case, GpuCase)
        return known and here and case.dtype in self.dtypes and case.kind in self.kinds


CONTENDERS: dict[str, Contender] = {}
"""Every contender by its name."""


def register(contender: Contender) -> None:
    """Add a contender to the benchmarks that this process runs; ``--peers`` then accepts its name.

    The contender runs in a process of its own, which imports `contender.module` with this process's ``sys.path``.

    Raises
    ------
    ValueError
        There is a contender of that name already.

    Examples
    --------
    A file ``my_adam.py`` with a class ``Stepper``, and a script that compares it with fastopt and with the roof::

        from fastopt.bench import Contender, register
        from fastopt.cli import main

        register(Contender("mine", module="my_adam", rules=("adam",)))
        main(["bench", "step", "--rule", "adam", "--peers", "mine"])
    """
    if contender.name in CONTENDERS:
        raise ValueError(f"got a second contender named {contender.name!r}, expected a name that is not in use")
    CONTENDERS[contender.name] = contender


def _own(backend: str, *needs: str) -> Contender:
    module, kinds = f"{__name__}.fastopt", tuple(KINDS)
    return Contender(f"fastopt-{backend}", module, "own", needs, {"backend": backend}, None, kinds=kinds, trains=True)


def _gpu(name: str, module: str, role: str, rules: tuple[str, ...] | None, *kinds: str, **more: Any) -> Contender:
    needs = ("numba_cuda",)
    return Contender(name, f"{__name__}.{module}", role, needs, rules=rules, kinds=kinds, device="cuda", **more)


for _contender in (
    Contender(
        "roof", f"{__name__}.fastopt", "roof", ("numba",), {"roof": True}, None, kinds=("step", "clip", "threads")
    ),
    _own("numba", "numba"),
    _own("c"),
    _own("reference"),
    Contender("numpy", f"{__name__}.numpy", rules=("adam", "adamw")),
    _gpu("device", "cuda_memory", "device", tuple(MOVED), "memory"),
    _gpu("cuda-roof", "cuda", "roof", None, "step", "graph", "launch", options={"roof": True}),
    _gpu(
        *("fastopt-cuda", "cuda", "own", None, "step", "graph", "launch", "overhead"),
        options={"backend": "cuda"},
        trains=True,
    ),
):
    register(_contender)


def own_contenders(backends: Iterable[str]) -> list[str]:
    """Return fastopt's contenders, one for each backend.

    Raises
    ------
    ValueError
        There is no backend of that name.
    """
    known = {str(c.options["backend"]): c.name for c in CONTENDERS.values() if c.role == "own"}
    for backend in backends:
        if backend not in known:
            raise unknown_name("backend", backend, known)
    return [known[backend] for backend in backends]


def peers(devices: Iterable[str], *, trains: bool = False) -> list[str]:
    """Return the contenders on these devices that fastopt can be compared with: that take steps, or that train."""
    devices = set(devices)
    found = [c for c in CONTENDERS.values() if c.role in ("peer", "twin", "variant") and c.device in devices]
    return [c.name for c in found if (c.trains if trains else c.steps)]


def choose_peers(asked: Iterable[str], known: list[str]) -> list[str]:
    """Return the peers among `known` that were asked for: ``all``, ``none``, names, or the first parts of names.

    Raises
    ------
    ValueError
        A name that none of them has.

    Examples
    --------
    >>> choose_peers(["torch", "numpy"], ["numpy", "torch-loop", "torch-fused", "optax"])
    ['numpy', 'torch-loop', 'torch-fused']
    """
    chosen: set[str] = set()
    for name in asked:
        if name == "all":
            found = {peer for peer in known if not _is_variant(peer)}
        else:
            found = {name} & {*known} or {peer for peer in known if peer.startswith(f"{name}-")}
        if not found and name not in ("all", "none"):
            error = unknown_name("peer", name, ["all", "none", *known])
            raise ValueError(f"{error}; in a checkout of fastopt, 'python -m bench' has other libraries as peers")
        chosen |= found
    return [peer for peer in known if peer in chosen]


def _is_variant(name: str) -> bool:
    return name in CONTENDERS and CONTENDERS[name].role == "variant"


def distributions() -> set[str]:
    """Return the names of the installed distributions that the contenders need."""
    installed = packages_distributions()
    packages = {module.partition(".")[0] for contender in CONTENDERS.values() for module in contender.needs}
    return {name for package in packages for name in installed.get(package, ())}


def make_stepper(contender: Contender) -> Callable[..., Stepper]:
    """Return the function that makes its optimizer from ``(case, p, g)``. Imports the library."""
    found: Callable[..., Stepper] = partial(_module(contender).Stepper, **contender.options)
    return found


def device_stepper(contender: Contender) -> type[DeviceStepper]:
    """Return the class of its optimizers on the GPU. Imports the library."""
    found: type[DeviceStepper] = _module(contender).Stepper
    return found


def make_trainer(contender: Contender) -> Callable[..., Trainer]:
    """Return the function that makes its network from ``(case, weights, x, y)``. Imports the library."""
    found: Callable[..., Trainer] = partial(_module(contender).Trainer, **contender.options)
    return found


def why_missing(contender: Contender) -> str | None:
    """Return why a contender cannot run here although the modules it needs can be imported; None where it can."""
    ask: Callable[[], str | None] = getattr(_module(contender), "why_missing", lambda: None)
    return ask()


def _module(contender: Contender) -> Any:
    return import_module(contender.module)
