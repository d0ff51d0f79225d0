"""What every sweep does to the gradient and to the parameter before its rule takes them."""

from .vocabulary import clip, fma

__all__ = ["PRELUDE_NUMBERS", "decayed", "scaled"]

PRELUDE_NUMBERS = ("grad_scale", "clip_value", "weight_decay", "decay_factor")
"""The first numbers of every sweep; the sweep's own follow.

`grad_scale` holds the sign for ascent, a loss scale and the factor that limits the norm; `weight_decay` λ is L2 decay,
and `decay_factor` is 1 − ηλ for decoupled decay.
"""


def scaled(g, *, grad_scale, clip_value):
    """g ← clip(s·g, −c, c)"""
    return clip(g * grad_scale, -clip_value, clip_value)


def decayed(p, g, *, weight_decay, decay_factor):
    """g ← g + λp;  p ← d·p"""
    return p * decay_factor, fma(weight_decay, p, g)
