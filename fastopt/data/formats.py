"""Which of the known formats a path is of, by its name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from .idx import is_images, is_labels

__all__ = ["Format", "find_format", "split_pair"]

Format = Literal["pair", "csv", "folder", "npz", "npy", "images"]

_KNOWN = ".npz, .npy, .csv, .csv.gz, ...images...idx3-ubyte(.gz), or a folder of MNIST's files"


def find_format(path: Path) -> Format:
    """Return the format of what lies at `path`.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    ValueError
        The format is not known, or it is a labels file.

    Examples
    --------
    >>> find_format(Path("inputs.npy,targets.npy"))
    'pair'
    """
    name = path.name.lower()
    if not path.exists():
        if "," in str(path):
            return "pair"
        raise _missing(path)
    if path.is_dir():
        return "folder"
    if name.endswith((".csv", ".csv.gz")):
        return "csv"
    if name.endswith(".npz"):
        return "npz"
    if name.endswith(".npy"):
        return "npy"
    if is_images(path):
        return "images"
    if is_labels(path):
        raise ValueError(f"{path}: got a labels file, expected the images file; its labels are found beside it")
    raise ValueError(f"{path}: got a file of unknown kind, expected {_KNOWN}")


def split_pair(source: str) -> tuple[Path, Path]:
    """Return the inputs file and the targets file of ``"a.npy,b.npy"``.

    Raises
    ------
    ValueError
        There are not two, or one is no ``.npy`` file.
    """
    parts = [Path(part.strip()).expanduser() for part in source.split(",")]
    if len(parts) != 2 or any(part.suffix.lower() != ".npy" for part in parts):
        raise ValueError(f"{source}: got names with a comma between them, expected two .npy files: inputs,targets")
    return parts[0], parts[1]


def _missing(path: Path) -> FileNotFoundError:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return FileNotFoundError(f"{path}: no such file or folder, expected {_KNOWN}{hint}")
