"""Scaled clipping: a step that is linear in small gradients, up to |g| = ε², and never above ηε.

Hyper-parameters:
    lr: η, a factor of the step
    eps: ε, the limit of a step in units of η; a smaller one is closer to the sign of g

Use it: to reproduce programs that have it, or for gradients with extreme outliers.
Weaknesses: ε changes slope and limit at once: for small gradients the rate is η/ε.
References: none known for this form, which is that of a teaching program. A related rule is
    signSGD: Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018,
    arXiv:1802.04434.

>>> from fastopt import Optimizer  # 0.01/ε, then ε
>>> p = np.zeros(3)
>>> Optimizer(p, "scaled_clip", backend="reference", lr=1.0).step(np.array([0.01, 1.0, 100.0]))
>>> p.round(3)
array([-0.05, -0.2 , -0.2 ])
"""

from .rule import rule
from .vocabulary import clip, fma


@rule
def scaled_clip(p, g, *, lr=1e-2, eps=0.2):
    """p −= η·clip(g/ε, −ε, ε)"""
    return fma(-lr, clip(g / eps, -eps, eps), p)
