"""The network: layers, activations, losses, initialisers; forward and backward in NumPy over flat buffers."""

from __future__ import annotations

from .activations import ACTIVATIONS, Activation, get_activation
from .initialisers import INITIALISERS, get_initialiser
from .layer import Layer
from .losses import LOSSES, Loss, LossScratch, get_loss
from .network import Network
from .workspace import Workspace

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "LOSSES",
    "Activation",
    "Layer",
    "Loss",
    "LossScratch",
    "Network",
    "Workspace",
    "get_activation",
    "get_initialiser",
    "get_loss",
]
