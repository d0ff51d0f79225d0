"""Reading a saved run. A file may have been truncated or changed: whatever is wrong with it is one ValueError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Standardiser
from ..train import EpochResult, Position
from .checkpoint import Checkpoint, load_checkpoint
from .options import Number, Whole
from .owner import is_unused
from .settings import Settings

__all__ = ["MODEL_FILE", "SavedModel", "load_model", "model_file", "reading"]

MODEL_FILE = "model.safetensors"
"""Name of the file that holds a run."""


class SavedModel:
    """The contents of a run's folder, without the data of the training.

    Raises
    ------
    KeyError, TypeError, ValueError
        The contents do not belong to a run, or do not fit together.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        extra = checkpoint.extra
        self.checkpoint = checkpoint
        self.settings = Settings.from_dict(extra["settings"])
        self.position = Position(**extra["position"])
        self.history = [EpochResult(**result) for result in extra["history"]]
        self.classes = _names("classes", extra["classes"])
        self.columns = _names("columns", extra["columns"])
        self.fingerprint: dict[str, Any] = extra["data"]
        self.standardiser: Standardiser | None = None
        if self.settings.standardise:
            mean, scale = checkpoint.arrays["standardiser/mean"], checkpoint.arrays["standardiser/scale"]
            self.standardiser = Standardiser(mean, scale)
        self._check()

    def _check(self) -> None:
        """Raise ValueError or TypeError unless the parts fit together."""
        inputs, outputs = self.checkpoint.model.sizes[0], self.checkpoint.model.sizes[-1]
        if self.classes is not None and len(self.classes) != max(outputs, 2):
            raise ValueError(f"classes: got {len(self.classes)}, the model has {outputs} outputs")
        if self.columns is not None and len(self.columns) != inputs:
            raise ValueError(f"columns: got {len(self.columns)}, the model has {inputs} inputs")
        for name in ("mean", "scale") if self.standardiser else ():
            shape = getattr(self.standardiser, name).shape
            if shape != (inputs,):
                raise ValueError(f"standardiser/{name}: got shape {shape}, the model has {inputs} inputs")
        _check_numbers("position", self.position)
        for result in self.history:
            _check_numbers("history", result)


def load_model(folder: Path) -> SavedModel:
    """Return the contents of `folder`, which is the folder of a run or the model file in it.

    Raises
    ------
    FileNotFoundError
        There is no run.
    ValueError
        The model file is truncated, has changed since it was saved, was not saved by a run, or holds NaN.
    """
    path = model_file(folder)
    checkpoint = load_checkpoint(path)
    if checkpoint.extra is None:
        raise ValueError(f"{path}: holds a model but no run; expected a file that fastopt train saved")
    with reading(path):
        saved = SavedModel(checkpoint)
    _check_finite(path, checkpoint)
    return saved


def _check_finite(path: Path, checkpoint: Checkpoint) -> None:
    """Raise ValueError if a weight is NaN or infinite, or a state NaN, and name the tensor."""
    layout = checkpoint.model.layout
    tensors = {f"model/{name}": view for name, view in layout.views(checkpoint.model.parameters).items()}
    bad = [name for name, values in tensors.items() if not np.isfinite(values).all()]
    for state, buffer in checkpoint.optimizer["state"].items():
        views = layout.views(buffer).items()
        bad += [f"optimizer/{state}/{name}" for name, values in views if np.isnan(values).any()]
    if bad:
        others = f", and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise ValueError(
            f"{path}: {bad[0]} holds NaN or Inf{others}: the training had diverged when it was saved; "
            "train again with a smaller --lr, or with --max-norm 1"
        )


def model_file(folder: Path) -> Path:
    """Return the model file of the run in `folder`, which may be that file itself.

    Raises
    ------
    FileNotFoundError
        There is no run.
    """
    path = folder / MODEL_FILE if folder.is_dir() else folder
    if not path.is_file():
        stopped = folder.is_dir() and is_unused(folder)
        raise FileNotFoundError(
            f"{folder}: there is no run here; expected a folder with {MODEL_FILE} in it"
            + (f"; a run that was killed before its first save can be started again with --out {folder}" * stopped)
        )
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error while a saved run is read into a ValueError that names it."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing in it; it was changed after saving, use a backup") from error
    except Exception as error:
        raise ValueError(f"{path}: its contents do not fit together ({error}); it was changed after saving") from error


def _names(what: str, values: Any) -> tuple[str, ...] | None:
    if values is not None and not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
        raise TypeError(f"{what}: got {values!r}, expected a list of names")
    return None if values is None else tuple(values)


def _check_numbers(what: str, record: Position | EpochResult) -> None:
    """Raise TypeError or ValueError unless every field is a number, a count where it counts something."""
    for name, value in asdict(record).items():
        if value is None and name in ("correct", "train_accuracy", "test_loss", "test_accuracy"):
            continue
        values = Whole(0) if name in ("epoch", "step", "rows", "correct") else Number("a number", lambda number: True)
        values.check(f"{what}.{name}", value)
