"""JAX with optax, under ``jit``, old buffers donated to the new ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastopt import get_rule
from fastopt.bench.cases import StepCase, TrainCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array

__all__ = ["Stepper", "Trainer"]


def _optimizer(rule: str) -> Any:
    import optax

    hyper: Any = get_rule(rule).hyper
    if rule == "sgd":
        return optax.sgd(hyper["lr"])
    if rule in ("momentum", "nesterov"):
        return optax.sgd(hyper["lr"], hyper["momentum"], nesterov=rule == "nesterov")
    beta1, beta2 = hyper["betas"]
    if rule == "adam":
        return optax.adam(hyper["lr"], beta1, beta2, hyper["eps"])
    return optax.adamw(hyper["lr"], beta1, beta2, hyper["eps"], weight_decay=hyper["weight_decay"])


class Stepper(base.Stepper):
    """``optax`` in one jitted function."""

    def __init__(self, case: StepCase, p: Array, g: Array) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        jax.config.update("jax_enable_x64", case.dtype == "float64")
        optimizer = _optimizer(case.rule)
        if case.max_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(case.max_norm), optimizer)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(p: Any, state: Any, g: Any) -> Any:
            updates, state = optimizer.update(g, state, p)
            return optax.apply_updates(p, updates), state

        self._step = step
        self._p, self._g = jnp.array(p), jnp.array(g)
        self._state = optimizer.init(self._p)

    def step(self) -> None:
        self._p, self._state = self._step(self._p, self._state, self._g)

    def wait(self) -> None:
        self._p.block_until_ready()

    def load_gradient(self, g: Array) -> None:
        import jax.numpy as jnp

        self._g = jnp.array(g)

    def fill_state(self, value: float) -> None:
        import jax
        import jax.numpy as jnp

        size = self._p.shape
        self._state = jax.tree.map(
            lambda leaf: jnp.full_like(leaf, value) if leaf.shape == size and leaf.dtype.kind == "f" else leaf,
            self._state,
        )

    def parameters(self) -> Array:
        return np.asarray(self._p)


class Trainer(base.Trainer):
    """An epoch as one jitted ``lax.scan``."""

    def __init__(self, case: TrainCase, weights: list[Array], x: Array, y: Array) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        optimizer = optax.adam(case.lr)
        steps = len(x) // case.batch
        self._x = jnp.array(x.reshape(steps, case.batch, -1))
        self._y = jnp.array(y.reshape(steps, case.batch).astype(np.int32))
        self._weights = [jnp.array(w) for w in weights]
        self._state = optimizer.init(self._weights)

        def step(carry: Any, batch: Any) -> Any:
            weights, state = carry
            gradients = jax.grad(_loss)(weights, *batch)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(weights, updates), state), None

        @partial(jax.jit, donate_argnums=(0, 1))
        def epoch(weights: Any, state: Any, x: Any, y: Any) -> Any:
            return jax.lax.scan(step, (weights, state), (x, y))[0]

        self._epoch = epoch

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self._weights, self._state = self._epoch(self._weights, self._state, self._x, self._y)
        for weight in self._weights:
            weight.block_until_ready()

    def weights(self) -> list[Array]:
        return [np.array(w) for w in self._weights]


def _loss(weights: Any, x: Any, y: Any) -> Any:
    import jax
    import optax

    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = jax.nn.relu(x @ weight + bias)
    logits = x @ weights[-2] + weights[-1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
