"""A run: a training together with the folder that it is kept in.

The folder holds ``model.safetensors`` (everything that continuing needs), and for the eye ``settings.json``,
``history.csv`` and ``curves.png``.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, fields, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._files import replace_file
from ..data import Dataset, Standardiser, align_classes, check_classes, check_dataset, load, load_inputs, split
from ..train import EpochResult, Position, Training
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .plots import plot_history
from .settings import Settings

__all__ = ["MODEL_FILE", "Run", "SavedModel", "load_model", "new_folder"]

MODEL_FILE = "model.safetensors"


class Run:
    """A training and its folder; made by :meth:`start` or :meth:`resume`."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        parts: tuple[Dataset, Dataset],
        standardiser: Standardiser | None,
        training: Training,
        history: list[EpochResult],
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.train, self.test = parts
        self.standardiser = standardiser
        self.training = training
        self.history = history

    @classmethod
    def start(cls, folder: Path, settings: Settings, threads: int | None = None) -> Run:
        """Load the data, make model and optimizer, and make the folder.

        Raises
        ------
        FileExistsError
            The folder exists and is not empty.
        ValueError, TypeError, FileNotFoundError
            The data, or a setting, is wrong. No folder is made.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{folder} exists already; choose another folder with --out, or continue it with --resume {folder}"
            )
        parts = load_parts(settings)
        standardiser = Standardiser.fit(parts[0]) if settings.standardise else None
        model = settings.make_model(parts[0])
        training = _training(settings, parts, standardiser, model, settings.make_optimizer(model, threads))
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, settings, parts, standardiser, training, [])

    @classmethod
    def resume(cls, folder: Path, *, epochs: int | None = None, threads: int | None = None) -> Run:
        """Continue the run in `folder`, up to `epochs` or to where it was to end.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no run, its model file is damaged, the data is not what it was, or fewer epochs are asked for
            than are done.
        """
        saved = load_model(folder)
        settings = saved.settings if epochs is None else replace(saved.settings, epochs=epochs)
        if settings.epochs < saved.position.epoch:
            raise ValueError(
                f"{folder}: got epochs={settings.epochs}, but {saved.position.epoch} are done; ask for more than these"
            )
        parts = load_parts(settings)
        if _fingerprint(parts) != saved.fingerprint:
            raise ValueError(
                f"{folder}: the data at {parts[0].source} is not what this run was trained on; "
                "put it back, or start a new run"
            )
        model = saved.checkpoint.model
        optimizer = settings.make_optimizer(model, threads)
        optimizer.load_state_dict(saved.checkpoint.optimizer)
        training = _training(settings, parts, saved.standardiser, model, optimizer, saved.position)
        return cls(folder, settings, parts, saved.standardiser, training, list(saved.history))

    def save(self) -> None:
        """Write the model, then what people look at.

        Raises
        ------
        OSError
            A file cannot be written; the model saved before is still there.
        """
        extra = {
            "fastopt": __version__,
            "settings": self.settings.as_dict(),
            "position": self.training.position.as_dict(),
            "history": [asdict(result) for result in self.history],
            "classes": self.train.classes,
            "columns": self.train.columns,
            "data": _fingerprint((self.train, self.test)),
        }
        kept = self.standardiser
        arrays = {} if kept is None else {"standardiser/mean": kept.mean, "standardiser/scale": kept.scale}
        save_checkpoint(
            self.folder / MODEL_FILE, self.training.model, self.training.optimizer, extra=extra, arrays=arrays
        )
        _write(self.folder / "settings.json", json.dumps(self.settings.as_dict(), indent=2) + "\n")
        _write(self.folder / "history.csv", _as_csv(self.history))

    def draw(self) -> Path:
        """Draw the curves, and return where they are."""
        path = self.folder / "curves.png"
        plot_history(self.history, path, f"{self.train.name}: {self.settings.rule}, {self.training.model!r}")
        return path


class SavedModel:
    """What a run's folder holds, without its data."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        extra = checkpoint.extra
        self.checkpoint = checkpoint
        self.settings = Settings.from_dict(extra["settings"])
        self.position = Position(**extra["position"])
        self.history = [EpochResult(**result) for result in extra["history"]]
        self.classes = None if extra["classes"] is None else tuple(extra["classes"])
        self.columns = None if extra["columns"] is None else tuple(extra["columns"])
        self.fingerprint: dict[str, Any] = extra["data"]
        self.standardiser: Standardiser | None = None
        if "standardiser/mean" in checkpoint.arrays:
            arrays = checkpoint.arrays
            self.standardiser = Standardiser(arrays["standardiser/mean"], arrays["standardiser/scale"])


def load_model(folder: Path) -> SavedModel:
    """Return what `folder`, a run's folder or the model file in it, holds.

    Raises
    ------
    FileNotFoundError
        There is no run.
    ValueError
        The model file is truncated, or none that a run saved.
    """
    path = folder / MODEL_FILE if folder.is_dir() else folder
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: there is no run here; expected a folder with {MODEL_FILE} in it")
    checkpoint = load_checkpoint(path)
    try:
        return SavedModel(checkpoint)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: holds a model but no run ({error!r} is missing); expected one of fastopt train"
        ) from error


def new_folder(name: str, parent: Path = Path("runs")) -> Path:
    """Return the first of ``parent/name``, ``parent/name-2``, … that does not exist."""
    candidates = (parent / (name if k == 1 else f"{name}-{k}") for k in range(1, 1_000_000))
    return next(path for path in candidates if not path.exists())


def load_parts(settings: Settings) -> tuple[Dataset, Dataset]:
    """Return the training and the test part, checked."""
    data, test = load(settings.data, target=settings.target, regression=settings.regression)
    if settings.test is not None:
        _, test = load_inputs(
            settings.test, columns=data.columns, target=settings.target, regression=data.classes is None
        )
        if test is None:
            raise ValueError(f"{settings.test}: has no targets to test on; expected them as in the training data")
    if test is None:
        train, test = split(check_dataset(data), settings.test_fraction, seed=settings.seed)
    else:
        train, test = check_dataset(data), check_dataset(align_classes(test, data.classes))
    check_classes(train, test)
    return train, test


def _training(
    settings: Settings,
    parts: tuple[Dataset, Dataset],
    standardiser: Standardiser | None,
    model: Any,
    optimizer: Any,
    position: Position | None = None,
) -> Training:
    return Training(
        model,
        optimizer,
        parts[0],
        test=parts[1],
        standardiser=standardiser,
        batch_size=settings.batch_size,
        sampling=settings.sampling,
        schedule=settings.schedule,
        epochs=settings.epochs,
        seed=settings.seed,
        position=position,
    )


_SAMPLED = 64
"""Rows of a memory map, which may be larger than memory, that tell it from another."""


def _fingerprint(parts: tuple[Dataset, Dataset]) -> dict[str, Any]:
    """Return what tells one data set from another: sizes, targets and inputs; of a memory map some rows."""
    digest = sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part.targets).tobytes())
        if isinstance(part.inputs, np.memmap):
            rows = np.linspace(0, len(part) - 1, _SAMPLED).astype(np.int64)
            digest.update(part.gather(rows, np.empty((_SAMPLED, part.features))).tobytes())
        else:
            for _, block in part.blocks():
                digest.update(np.ascontiguousarray(block).tobytes())
    return {"rows": [len(part) for part in parts], "features": parts[0].features, "sha256": digest.hexdigest()}


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda temporary: _put(temporary, text), f"make room; {MODEL_FILE} beside it is saved")


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _as_csv(history: list[EpochResult]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochResult)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in history)
    return text.getvalue()
