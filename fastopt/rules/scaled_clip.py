"""A sign-like step that is linear near zero and never longer than ηε."""

from .rule import rule
from .vocabulary import clip, fma


@rule
def scaled_clip(p, g, *, lr=1e-2, eps=0.2):
    """p −= η·clip(g/ε, −ε, ε)"""
    return fma(-lr, clip(g / eps, -eps, eps), p)
