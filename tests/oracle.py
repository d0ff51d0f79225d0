"""The oracle: every update rule once more, slow and obvious, in float64 NumPy, to test the fast ones against.

Contract: written from the papers and from the public documentation of PyTorch and Keras, never from `fastopt/rules`;
the two stay independent, so that a slip in one shows. Every rule is `rule(p, g, state, t, *, hyper) -> p_new`:

- `p`, `g`: the parameters and their gradient, float64 arrays of one shape; neither is written to;
- `state`: name -> array, updated by the call, and name -> number for what a rule keeps besides; a missing array means
  zeros;
- `t`: the number of this step, counted from 1.

`step` applies scaling, clipping and weight decay around a rule and converts its input to float64.
In the formulas η is `lr`, μ is `momentum`, τ is `dampening`, ε is `eps`; all operations are element-wise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
State = dict[str, Any]
Rule = Callable[..., Array]


ORACLES: dict[str, Rule] = {}

HYPER: dict[str, dict[str, Any]] = {}
"""Hyper-parameters for tests. No value is a default, so that a hyper-parameter that is ignored shows. The decay is a
power of two: g + λp is then rounded once in every dtype, and cancellation in it does not blur the comparison."""

DECAY: dict[str, str] = {}
"""How weight decay acts: on the gradient ("l2"), on the parameters first ("decoupled"), or in the formula ("own")."""


def oracle(*, decay: str = "l2", lr: float = 0.03, **hyper: Any) -> Callable[[Rule], Rule]:
    """Note the oracle of the rule of that name, with hyper-parameters to test it with."""

    def add(function: Rule) -> Rule:
        name = function.__name__
        ORACLES[name], DECAY[name] = function, decay
        HYPER[name] = {"lr": lr, **hyper, "weight_decay": 0.0625}
        return function

    return add


def _read(state: State, name: str, like: Array) -> Array:
    """The state called `name` in float64, or zeros of the shape of `like` where it is missing."""
    if name not in state:
        return np.zeros(like.shape, dtype=np.float64)
    return np.asarray(state[name], dtype=np.float64)


@oracle()
def sgd(p: Array, g: Array, state: State, t: int, *, lr: float) -> Array:
    """p ← p − η·g.

    Source: Robbins and Monro, "A stochastic approximation method" (1951); `torch.optim.SGD` with momentum 0.
    """
    return p - lr * g


@oracle(eps=0.7)
def scaled_clip(p: Array, g: Array, state: State, t: int, *, lr: float, eps: float) -> Array:
    """p ← p − η·clip(g/ε, −ε, ε).

    Source: none published that is known here; the formula is this project's own definition.
    """
    return p - lr * np.clip(g / eps, -eps, eps)


@oracle(beta=0.7)
def momentum_ema(p: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> Array:
    """v ← β·v + (1 − β)·g;  p ← p − η·v, with v = 0 at the start and no bias correction.

    Source: the line of the first moment in Kingma and Ba, "Adam" (arXiv:1412.6980), Algorithm 1.
    """
    v = _read(state, "exp_avg", p)
    v = beta * v + (1 - beta) * g
    state["exp_avg"] = v
    return p - lr * v


@oracle(momentum=0.8)
def momentum_velocity(p: Array, g: Array, state: State, t: int, *, lr: float, momentum: float) -> Array:
    """v ← μ·v − η·g;  p ← p + v.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), equations 1
    and 2, after Polyak (1964); `keras.optimizers.SGD` with momentum.
    """
    v = _read(state, "velocity", p)
    v = momentum * v - lr * g
    state["velocity"] = v
    return p + v


@oracle(momentum=0.8)
def nesterov_velocity(p: Array, g: Array, state: State, t: int, *, lr: float, momentum: float) -> Array:
    """v ← μ·v − η·g;  p ← p + μ·v − η·g, with the new v in the second formula.

    Source: Bengio, Boulanger-Lewandowski and Pascanu, "Advances in optimizing recurrent networks" (arXiv:1212.0901),
    section 3.5, with constant μ; `keras.optimizers.SGD` with `nesterov=True`.
    """
    v = _read(state, "velocity", p)
    v = momentum * v - lr * g
    state["velocity"] = v
    return p + momentum * v - lr * g


@oracle(momentum=0.8, dampening=0.3)
def momentum(p: Array, g: Array, state: State, t: int, *, lr: float, momentum: float, dampening: float) -> Array:
    """b ← g in the first step, b ← μ·b + (1 − τ)·g later;  p ← p − η·b.

    Source: the algorithm in the documentation of `torch.optim.SGD`, whose first step ignores τ. As there, a step
    without a buffer counts as the first.
    """
    if t == 1 or "momentum_buffer" not in state:
        b = g.copy()
    else:
        b = momentum * _read(state, "momentum_buffer", p) + (1 - dampening) * g
    state["momentum_buffer"] = b
    return p - lr * b


@oracle(momentum=0.8, dampening=0.3)
def nesterov(p: Array, g: Array, state: State, t: int, *, lr: float, momentum: float, dampening: float) -> Array:
    """b ← g in the first step, b ← μ·b + (1 − τ)·g later;  p ← p − η·(g + μ·b), with the new b.

    Source: the algorithm in the documentation of `torch.optim.SGD` with `nesterov=True`. PyTorch refuses τ ≠ 0
    here; the formula does not.
    """
    if t == 1 or "momentum_buffer" not in state:
        b = g.copy()
    else:
        b = momentum * _read(state, "momentum_buffer", p) + (1 - dampening) * g
    state["momentum_buffer"] = b
    return p - lr * (g + momentum * b)


@oracle(lr_decay=0.1, eps=0.001)
def adagrad(p: Array, g: Array, state: State, t: int, *, lr: float, lr_decay: float, eps: float) -> Array:
    """s ← s + g²;  p ← p − η/(1 + (t − 1)·lr_decay)·g/(√s + ε), with s = 0 at the start.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods" (2011), the diagonal form; `lr_decay` and ε outside
    the root from the algorithm in the documentation of `torch.optim.Adagrad`.
    """
    s = _read(state, "sum", p)
    lr_t = lr / (1 + (t - 1) * lr_decay)
    s = s + g**2
    state["sum"] = s
    return p - lr_t * g / (np.sqrt(s) + eps)


@oracle(alpha=0.9, eps=0.001)
def rmsprop(p: Array, g: Array, state: State, t: int, *, lr: float, alpha: float, eps: float) -> Array:
    """v ← α·v + (1 − α)·g²;  p ← p − η·g/(√v + ε).

    Source: Tieleman and Hinton, "Neural networks for machine learning" (2012), lecture 6e; ε outside the root from the
    algorithm in the documentation of `torch.optim.RMSprop`.
    """
    v = _read(state, "square_avg", p)
    v = alpha * v + (1 - alpha) * g**2
    state["square_avg"] = v
    return p - lr * g / (np.sqrt(v) + eps)


@oracle(alpha=0.9, eps=0.001, momentum=0.8)
def rmsprop_momentum(
    p: Array, g: Array, state: State, t: int, *, lr: float, alpha: float, eps: float, momentum: float
) -> Array:
    """v ← α·v + (1 − α)·g²;  b ← μ·b + g/(√v + ε);  p ← p − η·b, with η outside the buffer b.

    Source: the algorithm in the documentation of `torch.optim.RMSprop` with momentum.
    """
    v = _read(state, "square_avg", p)
    b = _read(state, "momentum_buffer", p)
    v = alpha * v + (1 - alpha) * g**2
    b = momentum * b + g / (np.sqrt(v) + eps)
    state["square_avg"] = v
    state["momentum_buffer"] = b
    return p - lr * b


@oracle(alpha=0.9, eps=0.001)
def rmsprop_centered(p: Array, g: Array, state: State, t: int, *, lr: float, alpha: float, eps: float) -> Array:
    """v ← α·v + (1 − α)·g²;  a ← α·a + (1 − α)·g;  p ← p − η·g/(√(v − a²) + ε).

    Source: Graves, "Generating sequences with recurrent neural networks" (arXiv:1308.0850), equations 38 to 41, without
    its momentum; ε outside the root from the algorithm in the documentation of `torch.optim.RMSprop`, `centered=True`.
    """
    v = _read(state, "square_avg", p)
    a = _read(state, "grad_avg", p)
    v = alpha * v + (1 - alpha) * g**2
    a = alpha * a + (1 - alpha) * g
    state["square_avg"] = v
    state["grad_avg"] = a
    return p - lr * g / (np.sqrt(v - a**2) + eps)


@oracle(alpha=0.9, eps=0.001, momentum=0.8)
def rmsprop_centered_momentum(
    p: Array, g: Array, state: State, t: int, *, lr: float, alpha: float, eps: float, momentum: float
) -> Array:
    """v ← α·v + (1 − α)·g²;  a ← α·a + (1 − α)·g;  b ← μ·b + g/(√(v − a²) + ε);  p ← p − η·b.

    Source: Graves (arXiv:1308.0850), equations 38 to 41; ε outside the root and η outside the buffer b from the
    algorithm in the documentation of `torch.optim.RMSprop` with `centered=True` and momentum.
    """
    v = _read(state, "square_avg", p)
    a = _read(state, "grad_avg", p)
    b = _read(state, "momentum_buffer", p)
    v = alpha * v + (1 - alpha) * g**2
    a = alpha * a + (1 - alpha) * g
    b = momentum * b + g / (np.sqrt(v - a**2) + eps)
    state["square_avg"] = v
    state["grad_avg"] = a
    state["momentum_buffer"] = b
    return p - lr * b


@oracle(betas=(0.8, 0.99), eps=0.001)
def adam(p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float], eps: float) -> Array:
    """m ← β₁·m + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²;  p ← p − η·m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Source: Kingma and Ba, "Adam" (arXiv:1412.6980), Algorithm 1; `torch.optim.Adam`.
    """
    beta1, beta2 = betas
    m = _read(state, "exp_avg", p)
    v = _read(state, "exp_avg_sq", p)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    state["exp_avg"] = m
    state["exp_avg_sq"] = v
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps)


@oracle(decay="decoupled", betas=(0.8, 0.99), eps=0.001)
def adamw(p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float], eps: float) -> Array:
    """The formulas of `adam`; the decoupled decay p ← p·(1 − η·λ) before them is applied by `step`.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (arXiv:1711.05101), Algorithm 2, with the
    decay multiplied by η as in the documentation of `torch.optim.AdamW`.
    """
    return adam(p, g, state, t, lr=lr, betas=betas, eps=eps)


@oracle(decay="own", betas=(0.8, 0.99), eps=0.001)
def lamb(
    p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> Array:
    """r = m̂/(√v̂ + ε) with the moments of `adam`;  u = r + λ·p;  p ← p − η·(‖p‖/‖u‖)·u for one layer.

    Source: You et al., "Large batch optimization for deep learning" (arXiv:1904.00962), Algorithm 2, φ the identity.
    The ratio of norms is 1 where one of them is 0, as in the authors' code.
    """
    beta1, beta2 = betas
    m = beta1 * _read(state, "exp_avg", p) + (1 - beta1) * g
    v = beta2 * _read(state, "exp_avg_sq", p) + (1 - beta2) * g**2
    state["exp_avg"], state["exp_avg_sq"] = m, v
    u = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * p
    norm_p, norm_u = np.linalg.norm(p), np.linalg.norm(u)
    ratio = norm_p / norm_u if norm_p > 0 and norm_u > 0 else 1.0
    return p - lr * ratio * u


@oracle(decay="decoupled", momentum=0.8)
def muon(p: Array, g: Array, state: State, t: int, *, lr: float, momentum: float) -> Array:
    """b ← μ·b + (1 − μ)·g;  u = μ·b + (1 − μ)·g;  p ← p − 0.2·η·√max(n, m)·O, where O is what five Newton-Schulz
    iterations X ← a·X + (b·A + c·A²)·X, A = X·Xᵀ, make of u/(‖u‖ + 1e-7); for a matrix. Of a vector: `adamw`.

    Source: Jordan et al., "Muon" (2024), with a, b, c = 3.4445, −4.775, 2.0315; the average and the Nesterov form of
    `torch.optim.Muon`; the factor of Liu et al., "Muon is scalable for LLM training" (arXiv:2502.16982), equation 4.
    """
    if p.ndim != 2:
        return adamw(p, g, state, t, lr=lr, betas=(0.9, 0.999), eps=1e-8)
    b = momentum * _read(state, "momentum_buffer", p) + (1 - momentum) * g
    u = momentum * b + (1 - momentum) * g
    state["momentum_buffer"] = b
    x = u / (np.linalg.norm(u) + 1e-7)
    if x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
    if x.shape != p.shape:
        x = x.T
    return p - 0.2 * lr * np.sqrt(max(p.shape)) * x


@oracle(decay="own", lr=0.3, betas=(0.8, 0.99), eps=0.001, d0=0.125, d_coef=2.0)
def prodigy(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    d0: float,
    d_coef: float,
    weight_decay: float,
) -> Array:
    """m ← β₁m + (1−β₁)dg;  v ← β₂v + (1−β₂)d²g²;  r ← √β₂·r + γd²⟨g, p₀ − p⟩;  s ← √β₂·s + γd²g;
    d₊ = max(d, r/‖s‖₁);  p ← p − γd·(m/(√v + dε) + λp);  γ = η·√(1 − β₂ᵗ)/(1 − β₁ᵗ).

    Source: Mishchenko and Defazio, "Prodigy" (arXiv:2306.06101), Algorithm 4. Its factors (1 − √β₂) on r and s cancel.
    r and s are both divided by the first d, which keeps them in range, as in the authors' code; the bias correction,
    the factor on the estimate and decoupled decay are that code's options `use_bias_correction`, `d_coef` and
    `weight_decay`.
    """
    beta1, beta2 = betas
    d, r = float(state["d"]), float(state["numerator"])
    start = np.asarray(state["initial"], dtype=np.float64)
    gamma = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    m = beta1 * _read(state, "exp_avg", p) + (1 - beta1) * d * g
    v = beta2 * _read(state, "exp_avg_sq", p) + (1 - beta2) * d**2 * g**2
    r = np.sqrt(beta2) * r + gamma * d**2 / d0 * np.sum(g * (start - p))
    s = np.sqrt(beta2) * _read(state, "weighted_sum", p) + gamma * d**2 / d0 * g
    state["exp_avg"], state["exp_avg_sq"], state["weighted_sum"] = m, v, s
    total = np.sum(np.abs(s))
    state["numerator"] = np.float64(r)
    state["d"] = np.float64(max(d, d_coef * r / total) if total > 0 else d)
    return p - gamma * d * (m / (np.sqrt(v) + d * eps) + weight_decay * p)


@oracle(decay="own", betas=(0.8, 0.99), eps=0.001)
def schedule_free_adamw(
    p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> Array:
    """z ← z − η·u;  x ← (1 − c)·x + c·z;  y = (1 − β₁)·z + β₁·x, with u = g/(√v̂ + ε) + λ·y at y and c = η²/Σ η².

    Source: Defazio et al., "The road less scheduled" (arXiv:2405.15682), Algorithm 1 and equation 24 for c, with the
    largest η so far in the place of η there as in the authors' code. `p` holds y; x is recovered from y and z.
    """
    beta1, beta2 = betas
    z = np.asarray(state["z"], dtype=np.float64)
    x = (p - (1 - beta1) * z) / beta1
    v = beta2 * _read(state, "exp_avg_sq", p) + (1 - beta2) * g**2
    u = g / (np.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * p
    largest = max(float(state["largest_lr"]), lr)
    total = float(state["weight_sum"]) + largest**2
    c = largest**2 / total
    z_new = z - lr * u
    x_new = (1 - c) * x + c * z_new
    state["exp_avg_sq"], state["z"] = v, z_new
    state["largest_lr"], state["weight_sum"] = np.float64(largest), np.float64(total)
    return (1 - beta1) * z_new + beta1 * x_new


@oracle(decay="own", betas=(0.9, 0.8, 0.95), eps=0.001)
def adan(
    p: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float, float],
    eps: float,
    weight_decay: float,
) -> Array:
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)(g − g₋);  n ← β₃n + (1−β₃)(g + β₂(g − g₋))²;
    p ← (p − η·(m̂ + β₂·v̂)/(√n̂ + ε))/(1 + λη), where a hat divides by 1 − βᵗ, and g₋ = g in the first step.

    Source: Xie et al., "Adan" (arXiv:2208.06677), Algorithm 1, with β = 1 − the paper's; the bias corrections and the
    place of ε from the authors' code.
    """
    beta1, beta2, beta3 = betas
    difference = np.zeros_like(g) if t == 1 else g - _read(state, "previous_grad", p)
    m = beta1 * _read(state, "exp_avg", p) + (1 - beta1) * g
    v = beta2 * _read(state, "exp_avg_diff", p) + (1 - beta2) * difference
    n = beta3 * _read(state, "exp_avg_sq", p) + (1 - beta3) * (g + beta2 * difference) ** 2
    state["exp_avg"], state["exp_avg_diff"], state["exp_avg_sq"], state["previous_grad"] = m, v, n, g
    step = (m / (1 - beta1**t) + beta2 * v / (1 - beta2**t)) / (np.sqrt(n / (1 - beta3**t)) + eps)
    return (p - lr * step) / (1 + lr * weight_decay)


@oracle(decay="decoupled", betas=(0.8, 0.95))
def lion(p: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float]) -> Array:
    """p ← p − η·sign(β₁m + (1 − β₁)g);  m ← β₂m + (1 − β₂)g. Source: Chen et al. (arXiv:2302.06675), Algorithm 2."""
    m = _read(state, "exp_avg", p)
    state["exp_avg"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)


def step(
    rule: str,
    p: Array,
    g: Array,
    state: State,
    t: int,
    hyper: Mapping[str, Any],
    *,
    decay: str | None = None,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: float = 1.0,
    clip_value: float | None = None,
    max_norm: float | None = None,
) -> Array:
    """One step of the rule named `rule` with all that goes around it, in this order.

    1. g ← g·grad_scale
    2. `maximize`: g ← −g
    3. `max_norm`: g ← g·min(1, max_norm/(‖g‖₂ + 1e-6)), as `torch.nn.utils.clip_grad_norm_` over this array
    4. `clip_value`: g ← clip(g, −clip_value, clip_value), as `torch.nn.utils.clip_grad_value_`
    5. weight decay λ: g ← g + λ·p (`decay="l2"`), p ← p·(1 − η·λ) (`"decoupled"`), or as the rule has it (`"own"`);
       see `DECAY`
    6. the rule

    Raises ValueError for any other `decay`.
    """
    if decay is None:
        decay = DECAY[rule]
    if decay not in ("l2", "decoupled", "own"):
        raise ValueError(f"decay is {decay!r}, expected 'l2', 'decoupled' or 'own'")
    p = np.asarray(p, dtype=np.float64)
    g = np.asarray(g, dtype=np.float64)

    g = g * grad_scale
    if maximize:
        g = -g
    if max_norm is not None:
        norm = np.sqrt(np.sum(g**2))
        g = g * np.minimum(1.0, max_norm / (norm + 1e-6))  # not min(): a norm that is NaN must stay NaN, as in PyTorch
    if clip_value is not None:
        g = np.clip(g, -clip_value, clip_value)
    if decay == "own":
        return ORACLES[rule](p, g, state, t, **hyper, weight_decay=weight_decay)
    if decay == "decoupled":
        p = p * (1 - hyper["lr"] * weight_decay)
    elif weight_decay != 0:  # as PyTorch: without decay an infinite parameter does not spoil its gradient
        g = g + weight_decay * p
    return ORACLES[rule](p, g, state, t, **hyper)
