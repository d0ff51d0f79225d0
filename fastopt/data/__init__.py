"""Data: loading it, checking it, splitting it, and putting it in random order."""

from __future__ import annotations

from .arrays import from_arrays
from .classes import align_classes, check_classes
from .dataset import Dataset, check_dataset
from .digits import digits
from .load import load, load_inputs
from .shuffle import permutation, with_replacement
from .split import split
from .standardise import Standardiser

__all__ = [
    "Dataset",
    "Standardiser",
    "align_classes",
    "check_classes",
    "check_dataset",
    "digits",
    "from_arrays",
    "load",
    "load_inputs",
    "permutation",
    "split",
    "with_replacement",
]
