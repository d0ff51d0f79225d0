"""``.npy`` files: inputs and targets in a file each, left on disk as memory maps. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import inputs_and_dataset
from .dataset import Dataset
from .parts import Options, Part

__all__ = ["check_start", "npy_parts", "pair_parts", "unreadable"]

_SUFFIXES = ("_targets", "_labels", "_y")
_STARTS = {"an .npz archive": b"PK", "an .npy array": b"\x93NUMPY"}


def npy_parts(path: Path, options: Options) -> list[Part]:
    """Return the inputs in a file, with the targets in the file next to it if there is one."""
    names = [f"{path.stem}{suffix}.npy" for suffix in _SUFFIXES]
    if path.name[0] in "xX":
        names += [f"{letter}{path.name[1:]}" for letter in "yY"]
    targets = next((targets for name in names if (targets := path.parent / name).is_file()), None)
    if targets is not None:
        return [_part(path, targets, options)]
    error = FileNotFoundError(
        f"{path}: found no targets next to it, expected {' or '.join(names)}; "
        f"or name both files: '{path.name},TARGETS.npy'"
    )
    return [_part(path, None, options, error)]


def pair_parts(path: Path, options: Options) -> list[Part]:
    """Return the inputs and the targets of ``"inputs.npy,targets.npy"``.

    Raises
    ------
    ValueError
        There are not two names, or one is not that of an ``.npy`` file.
    """
    files = [Path(name.strip()).expanduser() for name in str(path).split(",")]
    if len(files) != 2 or any(file.suffix.lower() != ".npy" for file in files):
        raise ValueError(f"{path}: got names with a comma between them, expected two .npy files: inputs,targets")
    return [_part(files[0], files[1], options)]


def check_start(path: Path, expected: Literal["an .npz archive", "an .npy array"]) -> None:
    """Raise unless the file starts as one of the `expected` kind does."""
    with path.open("rb") as file:
        start = file.read(max(map(len, _STARTS.values())))
    kind = next((kind for kind, known in _STARTS.items() if start.startswith(known)), None)
    if kind is None:
        raise ValueError(f"{path}: got a file that starts with {start!r}, expected {expected}")
    if kind != expected:
        raise ValueError(f"{path}: got {kind} in content, expected {expected}; rename the file")


def unreadable(where: object, error: Exception) -> Exception:
    """Return the error to raise for one of NumPy's: damaged bytes fail in zipfile, zlib or the tokenizer."""
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return TypeError(
            f"{where}: got an array of Python objects, expected numbers; objects are never loaded, since they can run "
            "code: convert the array, as with .astype('float32'), and save it again"
        )
    return ValueError(f"{where}: got data that NumPy cannot read ({error}), expected a whole .npy or .npz file")


def _part(inputs: Path, targets: Path | None, options: Options, error: Exception | None = None) -> Part:
    def read() -> tuple[NDArray[Any], Dataset | None]:
        values = None if targets is None else _map(targets)
        return inputs_and_dataset(_map(inputs), values, options.regression, inputs.stem, options.source)

    return Part(read, error)


def _map(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected an .npy file")
    check_start(path, "an .npy array")
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:
        raise unreadable(path, error) from error
