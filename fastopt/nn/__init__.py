"""A multi-layer perceptron over one flat parameter buffer, and the tables that it is configured from."""

from __future__ import annotations

from .activations import ACTIVATIONS, Activation, get_activation
from .batches import Batches
from .initialisers import INITIALISERS, get_initialiser
from .interrupt import Interrupt, stop_on_interrupt
from .layer import Layer
from .losses import LOSSES, Loss, LossScratch, get_loss
from .mlp import MLP
from .progress import ProgressBar
from .training import SAMPLING, EpochResult, Position, Training
from .waiting import GETTING_READY, Waiting
from .workspace import Workspace

__all__ = [
    "ACTIVATIONS",
    "GETTING_READY",
    "INITIALISERS",
    "LOSSES",
    "MLP",
    "SAMPLING",
    "Activation",
    "Batches",
    "EpochResult",
    "Interrupt",
    "Layer",
    "Loss",
    "LossScratch",
    "Position",
    "ProgressBar",
    "Training",
    "Waiting",
    "Workspace",
    "get_activation",
    "get_initialiser",
    "get_loss",
    "stop_on_interrupt",
]
