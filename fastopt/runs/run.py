"""A run: a training together with the folder that it is saved in.

The folder holds ``model.safetensors``, which contains everything needed to continue, and for people to look at
``settings.json``, ``history.csv`` and ``curves.png``.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields, replace
from hashlib import sha256
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any

import numpy as np

from .. import __version__
from .._files import remove_leftovers, replace_file
from ..data import Dataset, Standardiser, align_classes, check_classes, check_dataset, load, load_inputs, split
from ..train import EpochResult, Position, Training
from .checkpoint import save_checkpoint
from .owner import OWNER_FILE, Claim, is_unused
from .plots import plot_history
from .saved_run import MODEL_FILE, load_model, model_file, reading
from .settings import Settings

__all__ = ["Run"]


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
        fingerprint: dict[str, Any],
        claim: Claim,
    ) -> None:
        self.folder = folder
        self._parent = folder.absolute().parent  # now: there may be no current folder later
        self.settings = settings
        self.train, self.test = parts
        self.standardiser = standardiser
        self.training = training
        self.history = history
        self._fingerprint = fingerprint
        self._claim = claim

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back: until then, and while this process lives, no other run can have it."""
        self._claim.release()

    @classmethod
    def start(
        cls, folder: Path | None, settings: Settings, threads: int | None = None, *, overwrite: bool = False
    ) -> Run:
        """Load the data, make the model and the optimizer, and create the folder.

        Parameters
        ----------
        folder
            It must be new or empty. With None it is the first of ``runs/NAME``, ``runs/NAME-2``, … that does not exist
            yet, where NAME is that of the data.
        settings
            What is trained, and how.
        threads
            CPU threads; all processors of this process with None.
        overwrite
            Whether the run in the folder is to be replaced. It stays whole until the first save of this one; other
            files in the folder stay.

        Raises
        ------
        FileExistsError
            The folder exists and is not empty.
        BlockingIOError
            Another run is active in it.
        ValueError, TypeError, FileNotFoundError
            The data or a setting is wrong. No folder is created.
        """
        if folder is not None:
            _check_free(folder, overwrite)
        parts = load_parts(settings)
        standardiser = Standardiser.fit(parts[0]) if settings.standardise else None
        model = settings.make_model(parts[0])
        training = _training(settings, parts, standardiser, model, settings.make_optimizer(model, threads))
        fingerprint = _fingerprint(parts)
        import_module("safetensors.numpy")  # what cannot be loaded is said before the training, not at its first save
        folder, claim = _claim_new(settings.data_name) if folder is None else (folder, _claim(folder, overwrite))
        return cls(folder, settings, parts, standardiser, training, [], fingerprint, claim)

    @classmethod
    def resume(cls, folder: Path, *, epochs: int | None = None, threads: int | None = None) -> Run:
        """Continue the run in `folder`, up to `epochs`, or to the number of epochs in its settings.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no run, its model file is damaged, the data has changed, or `epochs` is less than what is done.
        BlockingIOError
            The run is active.
        OSError
            The folder cannot be written to.
        """
        if folder.is_file() and folder.name != MODEL_FILE:
            raise ValueError(
                f"{folder}: got a file; expected the folder of a run, with this file as {MODEL_FILE} in it"
            )
        folder = model_file(folder).parent
        claim = Claim(folder)
        try:
            return cls._resume(folder, claim, epochs, threads)
        except BaseException:
            claim.release()
            raise

    @classmethod
    def _resume(cls, folder: Path, claim: Claim, epochs: int | None, threads: int | None) -> Run:
        saved = load_model(folder)
        settings = saved.settings if epochs is None else replace(saved.settings, epochs=epochs)
        if settings.epochs < saved.position.epoch:
            raise ValueError(
                f"{folder}: got epochs={settings.epochs}, but {saved.position.epoch} are done; ask for more than these"
            )
        parts = load_parts(settings)
        fingerprint = _fingerprint(parts)
        if fingerprint != saved.fingerprint:
            raise ValueError(
                f"{folder}: the data at {parts[0].source} is not what this run was trained on; "
                "put it back, or start a new run"
            )
        model = saved.checkpoint.model
        optimizer = settings.make_optimizer(model, threads)
        with reading(folder):
            optimizer.load_state_dict(saved.checkpoint.optimizer)
        training = _training(settings, parts, saved.standardiser, model, optimizer, saved.position)
        with reading(folder):
            _check_position(training)
        remove_leftovers(folder)
        return cls(folder, settings, parts, saved.standardiser, training, list(saved.history), fingerprint, claim)

    def save(self) -> dict[str, str]:
        """Write the model, then the files for people to look at.

        Returns
        -------
        dict
            The names of files that could not be written besides the model, and why, in a sentence each.

        Raises
        ------
        OSError
            The model cannot be written; the one that was saved before is still there.
        """
        if not self._claim.holds:
            raise OSError(f"{self.folder}: cannot be written to: it was removed, or is another run's by now")
        extra = {
            "fastopt": __version__,
            "settings": self.settings.as_dict(),
            "position": self.training.position.as_dict(),
            "history": [asdict(result) for result in self.history],
            "classes": self.train.classes,
            "columns": self.train.columns,
            "data": self._fingerprint,
        }
        used = self.standardiser
        arrays = {} if used is None else {"standardiser/mean": used.mean, "standardiser/scale": used.scale}
        save_checkpoint(
            self.folder / MODEL_FILE, self.training.model, self.training.optimizer, extra=extra, arrays=arrays
        )
        texts = {
            "settings.json": json.dumps(self.settings.as_dict(), indent=2) + "\n",
            "history.csv": _as_csv(self.history),
        }
        failed = {}
        for name, text in texts.items():
            try:
                _write(self.folder / name, text)
            except OSError as error:
                failed[name] = str(error)
        return failed

    def rescue(self) -> dict[str, str]:
        """Save into a new folder, where the run's own takes nothing any more; `folder` is that one from then on.

        It is made next to the run's folder, in the current one, or in that of temporary files: the first that works.

        Returns
        -------
        dict
            As of :meth:`save`.

        Raises
        ------
        OSError
            No place takes it.
        """
        own, errors = self.folder, []
        parents: list[Callable[[], Path]] = [lambda: self._parent, Path.cwd, lambda: Path(gettempdir())]
        for parent in parents:  # called within: there may be no current folder, or none for temporary files
            try:
                folder, claim = _claim_new(f"{own.name}-rescued", parent())
            except OSError as error:
                errors.append(str(error))
                continue
            self._claim.release()
            self.folder, self._claim = folder, claim
            try:
                return self.save()
            except OSError as error:
                errors.append(str(error))
                claim.release()
                with suppress(OSError):
                    folder.rmdir()
        self.folder = own
        raise OSError(f"{own}: the run could not be saved there, nor elsewhere: {'; '.join(errors)}")

    def draw(self) -> Path:
        """Draw the curves, and return the path of the picture.

        Raises
        ------
        OSError
            The picture cannot be written.
        """
        path = self.folder / "curves.png"
        plot_history(self.history, path, f"{self.train.name}: {self.settings.rule}\n{self.training.model!r}")
        return path


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


def _check_free(folder: Path, overwrite: bool) -> None:
    """Raise an error unless a run can be started in `folder` now."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} exists already and is not a folder; choose another one with --out")
    if (folder / OWNER_FILE).exists():
        Claim(folder).release()
    _check_content(folder, overwrite)


def _check_content(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError if anything is in a folder but what killed runs left, or a run to be replaced."""
    if is_unused(folder):
        return
    is_run = (folder / MODEL_FILE).is_file()
    if overwrite and is_run:
        return
    advice = (
        f"continue its run with --resume {folder}, or replace it with --overwrite"
        if is_run
        else "empty it: there is no run in it"
    )
    raise FileExistsError(f"{folder} exists already; choose another folder with --out, or {advice}")


def _claim(folder: Path, overwrite: bool = False) -> Claim:
    """Return the claim to a folder, made if need be, in which a run can be started."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = Claim(folder)
    try:
        _check_content(folder, overwrite)  # again: others may have been faster
        remove_leftovers(folder)
    except BaseException:
        claim.release()
        raise
    return claim


def _claim_new(name: str, parent: Path = Path("runs")) -> tuple[Path, Claim]:
    """Return the first of ``parent/name``, ``parent/name-2``, … that no run has, and the claim to it.

    Of two runs that start together, each gets one.
    """
    for k in itertools.count(1):
        folder = parent / (name if k == 1 else f"{name}-{k}")
        if folder.exists() and not (folder.is_dir() and is_unused(folder)):
            continue
        with suppress(BlockingIOError, FileExistsError):
            return folder, _claim(folder)
    raise AssertionError("there is always another number")


def _check_position(training: Training) -> None:
    """Raise ValueError unless a training could have arrived at its position."""
    position, steps = training.position, training.steps_per_epoch
    rows = min(position.step * training.batch_size, training.rows)
    if position.step > steps or position.rows != rows:
        raise ValueError(
            f"position: got step {position.step} and {position.rows} rows, "
            f"an epoch has {steps} steps of {training.batch_size} rows"
        )


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
"""Rows of a memory map, which may be larger than memory, that identify its contents."""


def _fingerprint(parts: tuple[Dataset, Dataset]) -> dict[str, Any]:
    """Return the identity of a data set: sizes, and a digest of targets and inputs; of a memory map, of some rows."""
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
    replace_file(path, lambda temporary: _put(temporary, text), f"make room; {MODEL_FILE} is saved")


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _as_csv(history: list[EpochResult]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochResult)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in history)
    return text.getvalue()
