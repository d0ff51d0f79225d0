"""The contenders, by name: what each needs, which cases it runs. Their modules are imported by workers alone.

Adding one is a line here and a module with a ``Stepper``, a ``Trainer`` or both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from ..._errors import unknown_name
from ...rules import RULES
from ..cases import GPU_KINDS, MOVED, GpuCase, StepCase, TrainCase
from .base import DeviceStepper, Stepper, Trainer

__all__ = [
    "CONTENDERS",
    "PACKAGES",
    "Contender",
    "choose_peers",
    "device_stepper",
    "gpu_contenders",
    "make_stepper",
    "make_trainer",
    "own_contenders",
    "step_contenders",
    "train_contenders",
    "why_missing",
]

_TORCH_RULES = (
    *("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw"),
    *("rmsprop", "rmsprop_momentum", "rmsprop_centered", "rmsprop_centered_momentum"),
)
_TORCH_FUSED_RULES = ("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw")
_OPTAX_RULES = ("sgd", "momentum", "nesterov", "adam", "adamw")
_ALL_KINDS = ("step", "clip", "denormal", "threads", "overhead")
_PEER_KINDS = ("step", "clip", "denormal", "overhead")
_GPU_STEPS = tuple(kind for kind in GPU_KINDS if kind != "memory")
_GPU_PEER_KINDS = ("step", "launch", "overhead")
_CUPY_RULES = ("sgd", "momentum", "adam", "adamw")
_F32 = ("float32",)
_BOTH = ("float32", "float64")


@dataclass(frozen=True)
class Contender:
    """A library in one configuration.

    Attributes
    ----------
    name
        What tables and ``--peers`` call it.
    role
        ``"own"``, ``"peer"`` or ``"roof"``; on a GPU ``"twin"``, ``"variant"`` and ``"device"`` too.
    module
        Of this package; has the classes.
    needs
        Packages without which it is missing, as they are imported.
    options
        Arguments of its classes.
    rules, dtypes, kinds
        The step cases that it runs; all rules where it is None.
    trains
        Whether it runs training cases.
    device
        ``"cpu"`` or ``"cuda"``: where it computes.
    """

    name: str
    role: str
    module: str
    needs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] | None = ()
    dtypes: tuple[str, ...] = _BOTH
    kinds: tuple[str, ...] = _PEER_KINDS
    trains: bool = False
    device: str = "cpu"

    @property
    def steps(self) -> bool:
        """Whether it runs step cases at all."""
        return self.rules != ()

    def runs(self, case: StepCase | GpuCase | TrainCase) -> bool:
        """Return whether the case is one for this contender."""
        if isinstance(case, TrainCase):
            return self.trains
        known = self.rules is None or case.rule in self.rules
        here = (self.device == "cuda") == isinstance(case, GpuCase)
        return known and here and case.dtype in self.dtypes and case.kind in self.kinds


def _own(backend: str, *needs: str) -> Contender:
    name = f"fastopt-{backend}"
    return Contender(name, "own", "fastopt", needs, {"backend": backend}, None, _BOTH, _ALL_KINDS, trains=True)


def _torch(name: str, rules: tuple[str, ...] = _TORCH_RULES, **options: Any) -> Contender:
    return Contender(name, "peer", "torch", ("torch",), options, rules)


def _torch_compile() -> Contender:
    # One kind and dtype: it compiles for many seconds a case, and in float64 its bias corrections are those of float32.
    return Contender("torch-compile", "peer", "torch", ("torch",), {"compiled": True}, _TORCH_RULES, _F32, ("step",))


def _gpu(
    name: str,
    role: str,
    module: str,
    rules: tuple[str, ...] | None,
    kinds: tuple[str, ...],
    *needs: str,
    **options: Any,
) -> Contender:
    dtypes, trains = options.pop("dtypes", _BOTH), options.pop("trains", False)
    needs = ("numba_cuda", *needs)
    return Contender(name, role, module, needs, options, rules, dtypes, kinds, trains, device="cuda")


def _torch_gpu(name: str, rules: tuple[str, ...], kinds: tuple[str, ...], **options: Any) -> Contender:
    return _gpu(name, "peer", "cuda_torch", rules, kinds, "torch", **options)


def _elements(count: int) -> Contender:
    return _gpu(f"elements-{count}", "variant", "cuda", ("sgd", "adam"), ("step",), elements=count)


def _trains(name: str, module: str, *needs: str, **options: Any) -> Contender:
    return Contender(name, "peer", module, needs, options, trains=True)


def _torch_trains_on_gpu(name: str, **options: Any) -> Contender:
    return Contender(name, "peer", "cuda_torch_training", ("torch",), options, trains=True, device="cuda")


CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("roof", "roof", "fastopt", ("numba",), {"roof": True}, None, _BOTH, ("step", "clip", "threads")),
        _own("numba", "numba"),
        _own("c"),
        _own("reference"),
        Contender("numpy", "peer", "numpy", ("numpy",), {}, ("adam", "adamw")),
        _torch("torch-loop", foreach=False),
        _torch("torch-foreach", foreach=True),
        _torch("torch-fused", _TORCH_FUSED_RULES, fused=True),
        _torch("torch-fused-flush", _TORCH_FUSED_RULES, fused=True, flush_denormal=True),
        _torch_compile(),
        Contender("deepspeed", "peer", "deepspeed", ("torch", "deepspeed"), {}, ("adam", "adamw"), _F32),
        Contender("bitsandbytes", "peer", "bitsandbytes", ("torch", "bitsandbytes"), {}, ("adam", "adamw"), _F32),
        Contender("optax", "peer", "jax", ("jax", "optax"), {}, _OPTAX_RULES),
        _trains("torch", "torch", "torch"),
        _trains("torch-flush", "torch", "torch", flush_denormal=True),
        _trains("torch-compiled-step", "torch", "torch", compiled=True),
        _trains("jax", "jax", "jax", "optax"),
        _trains("scikit-learn", "sklearn", "sklearn"),
        _trains("keras", "keras", "keras", "tensorflow"),
        _gpu("device", "device", "cuda_memory", tuple(MOVED), ("memory",)),
        _gpu("cuda-roof", "roof", "cuda", None, ("step", "graph", "launch"), roof=True),
        _gpu("fastopt-cuda", "own", "cuda", None, _GPU_STEPS, backend="cuda", trains=True),
        _gpu("cuda-c", "twin", "cuda_c", tuple(RULES), _GPU_PEER_KINDS, "cuda.bindings"),
        _torch_gpu("torch-gpu-foreach", _TORCH_RULES, _GPU_STEPS, foreach=True),
        _torch_gpu("torch-gpu-fused", _TORCH_FUSED_RULES, _GPU_STEPS, fused=True),
        _torch_gpu("torch-gpu-compile", _TORCH_RULES, ("step", "overhead"), compiled=True, dtypes=_F32),
        _gpu("cupy", "peer", "cuda_cupy", _CUPY_RULES, _GPU_PEER_KINDS, "cupy"),
        *(_elements(count) for count in (1, 2, 4, 8)),
        _torch_trains_on_gpu("torch-gpu"),
        _torch_trains_on_gpu("torch-gpu-compiled-step", form="compiled"),
        _torch_trains_on_gpu("torch-gpu-graph", form="graph"),
    )
}

PACKAGES = (
    *("numpy", "numba", "llvmlite", "cffi", "scipy", "torch", "deepspeed", "bitsandbytes", "jax", "jaxlib", "optax"),
    *("scikit-learn", "keras", "tensorflow", "tensorflow-cpu"),
    *("numba-cuda", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-nvjitlink", "triton"),
    *("cupy-cuda12x", "cupy-cuda13x"),
)
"""Distributions whose versions a result file holds."""


def own_contenders(backends: Iterable[str]) -> list[str]:
    """Return fastopt's contenders, one a backend.

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


def step_contenders() -> list[str]:
    """Return the peers that take steps."""
    return [c.name for c in CONTENDERS.values() if c.role == "peer" and c.steps and c.device == "cpu"]


def gpu_contenders() -> list[str]:
    """Return who takes steps on a GPU beside fastopt: kernels in CUDA C first, variants of its own last."""
    roles = ("twin", "peer", "variant")
    return [c.name for c in CONTENDERS.values() if c.role in roles and c.steps and c.device == "cuda"]


def train_contenders(own: Iterable[str]) -> list[str]:
    """Return the peers that train on the devices that these contenders of fastopt train on."""
    devices = {CONTENDERS[name].device for name in own}
    return [c.name for c in CONTENDERS.values() if c.role == "peer" and c.trains and c.device in devices]


def choose_peers(asked: Iterable[str], known: list[str]) -> list[str]:
    """Return the peers among `known` that are meant: ``all``, ``none``, names, or the first part of names.

    Variants of fastopt's own kernels are meant where they are named.

    Raises
    ------
    ValueError
        A name that none of them has.

    Examples
    --------
    >>> choose_peers(["torch", "numpy"], ["numpy", "torch-loop", "torch-fused", "optax"])
    ['numpy', 'torch-loop', 'torch-fused']
    """
    meant: set[str] = set()
    for name in asked:
        found = {
            peer
            for peer in known
            if (name == "all" and not _is_variant(peer))
            or peer == name
            or (name not in known and peer.startswith(f"{name}-"))
        }
        if not found and name != "none":
            raise unknown_name("peer", name, ["all", "none", *known])
        meant |= found
    return [peer for peer in known if peer in meant]


def _is_variant(name: str) -> bool:
    return name in CONTENDERS and CONTENDERS[name].role == "variant"


def make_stepper(contender: Contender) -> Callable[..., Stepper]:
    """Return what makes its optimizer from ``(case, p, g)``. Imports the library."""
    found: Callable[..., Stepper] = partial(_module(contender).Stepper, **contender.options)
    return found


def device_stepper(contender: Contender) -> type[DeviceStepper]:
    """Return the class of its optimizers on the GPU. Imports the library."""
    found: type[DeviceStepper] = _module(contender).Stepper
    return found


def why_missing(contender: Contender) -> str | None:
    """Return why a contender cannot run here although its packages can be imported; None where it can."""
    ask: Callable[[], str | None] = getattr(_module(contender), "why_missing", lambda: None)
    return ask()


def make_trainer(contender: Contender) -> Callable[..., Trainer]:
    """Return what makes its network from ``(case, weights, x, y)``. Imports the library."""
    found: Callable[..., Trainer] = partial(_module(contender).Trainer, **contender.options)
    return found


def _module(contender: Contender) -> Any:
    return import_module(f"{__name__}.{contender.module}")
