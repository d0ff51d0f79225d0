"""The peers: each a library in one configuration. A peer is a line here, and a class in a module of this package."""

from __future__ import annotations

from typing import Any

from fastopt.bench import Contender

from ..twin import TWINS

__all__ = ["PEERS"]

_FUSED_RULES = ("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw")
_TORCH_RULES = (*_FUSED_RULES, "rmsprop", "rmsprop_momentum", "rmsprop_centered", "rmsprop_centered_momentum")
_OPTAX_RULES = ("sgd", "momentum", "nesterov", "adam", "adamw")
_CUPY_RULES = ("sgd", "momentum", "adam", "adamw")
_ADAM_RULES = ("adam", "adamw")
_FLOAT32 = ("float32",)
_COMPILED = {"compiled": True}


def _peer(name: str, module: str, *needs: str, options: dict[str, Any] | None = None, **cases: Any) -> Contender:
    return Contender(name, f"{__name__}.{module}", needs=needs, options=options or {}, **cases)


def _torch(name: str, rules: tuple[str, ...] = _TORCH_RULES, **options: Any) -> Contender:
    return _peer(name, "torch", "torch", options=options, rules=rules)


def _torch_training(name: str, **options: Any) -> Contender:
    return _peer(name, "torch", "torch", options=options, trains=True)


def _gpu(name: str, module: str, *needs: str, kinds: tuple[str, ...], **cases: Any) -> Contender:
    # numba_cuda has the clock that all steps on a GPU are timed by.
    return _peer(name, module, "numba_cuda", *needs, kinds=kinds, device="cuda", **cases)


def _torch_gpu(name: str, rules: tuple[str, ...] = _TORCH_RULES, **options: Any) -> Contender:
    kinds = ("step", "graph", "launch", "overhead")
    return _gpu(name, "cuda_torch", "torch", kinds=kinds, rules=rules, options=options)


def _torch_gpu_training(name: str, **options: Any) -> Contender:
    return _peer(name, "cuda_torch_training", "torch", options=options, trains=True, device="cuda")


def _elements(count: int) -> Contender:
    options, rules = {"elements": count}, ("sgd", "adam")
    return _gpu(f"elements-{count}", "cuda_elements", kinds=("step",), rules=rules, options=options, role="variant")


PEERS = (
    _torch("torch-loop", foreach=False),
    _torch("torch-foreach", foreach=True),
    _torch("torch-fused", _FUSED_RULES, fused=True),
    _torch("torch-fused-flush", _FUSED_RULES, fused=True, flush_denormal=True),
    # It compiles for many seconds a case; in float64 its bias corrections are those of float32.
    _peer("torch-compile", "torch", "torch", options=_COMPILED, rules=_TORCH_RULES, dtypes=_FLOAT32, kinds=("step",)),
    _peer("deepspeed", "deepspeed", "torch", "deepspeed", rules=_ADAM_RULES, dtypes=_FLOAT32),
    _peer("bitsandbytes", "bitsandbytes", "torch", "bitsandbytes", rules=_ADAM_RULES, dtypes=_FLOAT32),
    _peer("optax", "jax", "jax", "jaxlib", "optax", rules=_OPTAX_RULES),
    _torch_training("torch"),
    _torch_training("torch-flush", flush_denormal=True),
    _torch_training("torch-compiled-step", compiled=True),
    _peer("jax", "jax", "jax", "jaxlib", "optax", trains=True),
    _peer("scikit-learn", "sklearn", "sklearn", trains=True),
    _peer("keras", "keras", "keras", "tensorflow", trains=True),
    _gpu("cuda-c", "cuda_c", "cuda.bindings", kinds=("step", "launch", "overhead"), rules=TWINS, role="twin"),
    _torch_gpu("torch-gpu-foreach", foreach=True),
    _torch_gpu("torch-gpu-fused", _FUSED_RULES, fused=True),
    _gpu(
        "torch-gpu-compile",
        "cuda_torch",
        *("torch", "triton"),
        kinds=("step", "overhead"),
        options=_COMPILED,
        rules=_TORCH_RULES,
        dtypes=_FLOAT32,
    ),
    _gpu("cupy", "cuda_cupy", "cupy", kinds=("step", "launch", "overhead"), rules=_CUPY_RULES),
    *(_elements(count) for count in (1, 2, 4, 8)),
    _torch_gpu_training("torch-gpu"),
    _torch_gpu_training("torch-gpu-compiled-step", form="compiled"),
    _torch_gpu_training("torch-gpu-graph", form="graph"),
)
"""In the order of the tables; a case's contenders take turns in it."""
