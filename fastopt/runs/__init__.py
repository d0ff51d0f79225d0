"""Runs: a training with the folder that it is saved in, its settings, and the files in that folder."""

from __future__ import annotations

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .run import Run
from .saved_run import MODEL_FILE, SavedModel, load_model
from .settings import Settings, find_rule

__all__ = [
    "MODEL_FILE",
    "Checkpoint",
    "Run",
    "SavedModel",
    "Settings",
    "find_rule",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]
