"""Muon: momentum, made nearly orthogonal as a matrix, so that no direction in it dominates.

b (`momentum_buffer`) averages the gradient; u (`update`) is its Nesterov form, which five
Newton–Schulz steps orthogonalise, in the buffers' precision (the original: bfloat16). The factor
0.2·√max(rows, columns) makes elements of a step as large as AdamW's (Liu et al.): `adamw` updates
the segments that are not matrices, with the same lr and weight_decay.

Hyper-parameters:
    lr: η, tuned as for AdamW
    momentum: μ, the share of b that is kept at each step

Use it: for the hidden layers of large networks; give embeddings and the output layer a group with
    `adamw`, as its authors advise.
Weaknesses: matrices only; its products add about 5·min(rows, columns)/(batch size) to those of
    training, which is much for small batches.
References: Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024,
    https://kellerjordan.github.io/posts/muon/.
    Liu et al., Muon is scalable for LLM training, 2025, arXiv:2502.16982.

>>> from fastopt import Layout, Optimizer  # singular values of 100 and 1 become nearly equal
>>> p, layout = np.zeros(4), Layout({"weight": (2, 2)})
>>> optimizer = Optimizer(p, "muon", layout=layout, backend="reference", lr=0.1)
>>> optimizer.step(np.array([100.0, 0.0, 0.0, 1.0]))
>>> p.round(3)
array([-0.02,  0.  ,  0.  , -0.02])
"""

from math import sqrt

from .adam import adamw
from .rule import rule
from .vocabulary import fma


@rule(decay="decoupled", weight_decay=0.1, writes=("momentum_buffer", "update"), sums=("squares",), vectors=adamw)
def muon(g, momentum_buffer, update, *, momentum, one_minus_momentum):
    """b += (1−μ)(g−b);  u = (1−μ)g + μb;  p ·= 1 − ηλ;  p −= 0.2·η·√max(rows, columns)·orthogonalised(u), by matrix"""
    momentum_buffer = fma(g - momentum_buffer, one_minus_momentum, momentum_buffer)
    update = fma(momentum, momentum_buffer, one_minus_momentum * g)
    return momentum_buffer, update, (update, update)


@muon.number
def inverse_norm(squares):
    return 1.0 / (sqrt(squares) + 1e-7)


@muon.matrices
def orthogonalise(update, matmul, *, inverse_norm):
    rows, columns = update.shape
    x = inverse_norm * (update if rows <= columns else update.T)
    for _ in range(5):
        square = matmul(x, x.T)
        x = 3.4445 * x + matmul(-4.775 * square + 2.0315 * matmul(square, square), x)
    x = 0.2 * sqrt(max(rows, columns)) * x
    return x if rows <= columns else x.T


@muon.sweep(writes=("p",))
def apply(p, update, *, lr):
    return fma(-lr, update, p)


@muon.coefficients
def coefficients(t, *, lr=1e-3, momentum=0.95):
    return {"lr": lr, "momentum": momentum, "one_minus_momentum": 1.0 - momentum}
