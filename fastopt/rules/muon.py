"""Muon: Jordan et al., 2024, scaled as Liu et al., 2025, to share lr and weight decay with AdamW for vectors."""

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
