"""Files of NumPy arrays, ``.npz`` and ``.npy``. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import from_arrays, inputs_and_dataset
from .dataset import Dataset

__all__ = ["read_npy", "read_npy_inputs", "read_npz", "read_npz_inputs"]

_Archive = Mapping[str, NDArray[Any]]
_Names = tuple[tuple[str, ...], tuple[str, ...]]  # of the inputs, of the targets

_ALL: _Names = ("x", "X", "inputs", "images", "data"), ("y", "Y", "targets", "labels", "target")
_TRAIN: _Names = ("x_train",), ("y_train",)
_TEST: _Names = ("x_test",), ("y_test",)
_START_NPZ, _START_NPY = b"PK", b"\x93NUMPY"
_PAIR_SUFFIXES = ("_targets", "_labels", "_y")


def read_npz(path: Path, source: str, *, regression: bool = False) -> tuple[Dataset, Dataset | None]:
    """Return the dataset in an ``.npz`` file, and its test part if it has ``x_test`` and ``y_test``.

    Raises
    ------
    ValueError
        The file is damaged, has no arrays of a known name, or their shapes do not fit.
    TypeError
        An array of objects or of another dtype that is not supported.
    """

    def part(names: _Names, suffix: str = "") -> Dataset:
        inputs, targets = _required(path, archive, names, 0), _required(path, archive, names, 1)
        return from_arrays(inputs, targets, regression=regression, name=f"{path.stem}{suffix}", source=source)

    with _opened(path) as archive:
        if not _has(archive, _TRAIN):
            return part(_ALL), None
        return part(_TRAIN), part(_TEST, "-test") if _has(archive, _TEST) else None


def read_npz_inputs(path: Path, source: str, *, regression: bool = False) -> tuple[NDArray[Any], Dataset | None]:
    """Return the inputs in an ``.npz`` file, those of its test part if it has one, and their dataset if it has targets.

    Raises
    ------
    ValueError, TypeError
        As :func:`read_npz`; targets are not missed.
    """
    with _opened(path) as archive:
        names = next((names for names in (_TEST, _TRAIN) if _has(archive, names)), _ALL)
        inputs, targets = _required(path, archive, names, 0), _array(path, archive, names[1])
        name = f"{path.stem}-test" if names is _TEST else path.stem
        return inputs_and_dataset(inputs, targets, regression=regression, name=name, source=source)


def read_npy(inputs: Path, targets: Path | None, source: str, *, regression: bool = False) -> Dataset:
    """Return the dataset of an inputs file, left on disk as a memory map, and the targets file given or beside it.

    Raises
    ------
    FileNotFoundError
        A file is missing, or no targets file lies beside the inputs.
    ValueError, TypeError
        As :func:`from_arrays`; or the file is damaged.
    """
    targets = targets or _targets_beside(inputs)
    if targets is None:
        raise _no_targets(inputs)
    return from_arrays(_map(inputs), _map(targets), regression=regression, name=inputs.stem, source=source)


def read_npy_inputs(path: Path, source: str, *, regression: bool = False) -> tuple[NDArray[Any], Dataset | None]:
    """Return the inputs, left on disk as a memory map, and their dataset if a targets file lies beside them.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As :func:`read_npy`; targets are not missed.
    """
    targets = _targets_beside(path)
    values = None if targets is None else _map(targets)
    return inputs_and_dataset(_map(path), values, regression=regression, name=path.stem, source=source)


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    _check_start(path, _START_NPZ)
    with path.open("rb") as file, _load(file, path) as archive:
        yield archive


def _has(archive: _Archive, names: _Names) -> bool:
    return any(name in archive for name in names[0] + names[1])


def _map(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected an .npy file")
    _check_start(path, _START_NPY)
    return _load(path, path, mmap_mode="r")


def _check_start(path: Path, expected: bytes) -> None:
    with path.open("rb") as file:
        start = file.read(len(_START_NPY))
    if start.startswith(expected):
        return
    kinds = {_START_NPZ: "an .npz archive", _START_NPY: "an .npy array"}
    for known, kind in kinds.items():
        if start.startswith(known):
            raise ValueError(f"{path}: got {kind} in content, expected {kinds[expected]}; rename the file")
    raise ValueError(f"{path}: got a file that starts with {start!r}, expected {kinds[expected]}")


def _load(file: BinaryIO | Path, path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    try:
        return np.load(file, allow_pickle=False, mmap_mode=mmap_mode)
    except Exception as error:
        raise _unreadable(str(path), error) from error


def _required(path: Path, archive: _Archive, names: _Names, which: Literal[0, 1]) -> NDArray[Any]:
    array = _array(path, archive, names[which])
    if array is None:
        raise ValueError(
            f"{path}: found the arrays {', '.join(archive) or '(none)'}, expected {('inputs', 'targets')[which]} named "
            f"{' or '.join(names[which])}; save it with np.savez(path, {names[0][0]}=..., {names[1][0]}=...)"
        )
    return array


def _array(path: Path, archive: _Archive, names: tuple[str, ...]) -> NDArray[Any] | None:
    """Return the first array of those names, None if there is none."""
    key = next((key for key in names if key in archive), None)
    if key is None:
        return None
    try:
        return archive[key]
    except Exception as error:
        raise _unreadable(f"{path}: {key}", error) from error


def _unreadable(where: str, error: Exception) -> Exception:
    """Return the error to raise for any other: damaged bytes fail in zipfile, zlib, the tokenizer, or anywhere else."""
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return TypeError(
            f"{where}: got an array of Python objects, expected numbers; objects are never loaded, since they can run "
            "code: convert the array, as with .astype('float32'), and save it again"
        )
    return ValueError(f"{where}: got data that NumPy cannot read ({error}), expected a whole .npy or .npz file")


def _targets_names(inputs: Path) -> list[str]:
    """Return the names under which the targets of an inputs file are looked for."""
    names = [f"{inputs.stem}{suffix}.npy" for suffix in _PAIR_SUFFIXES]
    if inputs.name[0] in "xX":
        names += [f"{letter}{inputs.name[1:]}" for letter in ("y", "Y")]
    return names


def _targets_beside(inputs: Path) -> Path | None:
    return next((path for name in _targets_names(inputs) if (path := inputs.parent / name).is_file()), None)


def _no_targets(inputs: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"{inputs}: found no targets beside it, expected {' or '.join(_targets_names(inputs))}; "
        f"or name both files: '{inputs.name},TARGETS.npy'"
    )
