"""Training: the loop over epochs and steps, the optimizer bound to the network, progress, Ctrl-C, and ``MLP.fit``."""

from __future__ import annotations

from .batches import Batches
from .interrupt import Interrupt, stop_on_interrupt
from .mlp import MLP
from .position import EpochResult, Position
from .program import Program, make_program
from .progress import PREPARING, ProgressBar, Waiting
from .sampling import SAMPLING, get_sampling
from .training import Training

__all__ = [
    "MLP",
    "PREPARING",
    "SAMPLING",
    "Batches",
    "EpochResult",
    "Interrupt",
    "Position",
    "Program",
    "ProgressBar",
    "Training",
    "Waiting",
    "get_sampling",
    "make_program",
    "stop_on_interrupt",
]
