"""``.npz`` files: named arrays in an archive. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import inputs_and_dataset
from .dataset import Dataset
from .npy import check_start, unreadable
from .parts import Options, Part

__all__ = ["npz_parts"]


class _Names(NamedTuple):
    """The names that the arrays of a part may have, the best first."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]


_ALL = _Names(("x", "X", "inputs", "images", "data"), ("y", "Y", "targets", "labels", "target"))
_TRAIN = _Names(("x_train",), ("y_train",))
_TEST = _Names(("x_test",), ("y_test",))


def npz_parts(path: Path, options: Options) -> list[Part]:
    """Return the arrays ``x_train`` and ``y_train``, or those of :func:`load`'s other names, and the test part if any.

    Raises
    ------
    ValueError
        The file is damaged or not an ``.npz`` archive.
    """
    with _open(path) as archive:
        found = list(archive)
    train = _TRAIN if _has(found, _TRAIN) else _ALL
    parts = [_part(path, found, train, path.stem, options)]
    if _has(found, _TEST):
        parts.append(_part(path, found, _TEST, f"{path.stem}-test", options))
    return parts


def _has(found: Sequence[str], names: _Names) -> bool:
    return any(name in found for name in names.inputs + names.targets)


def _part(path: Path, found: Sequence[str], names: _Names, name: str, options: Options) -> Part:
    inputs, targets = [next((key for key in keys if key in found), None) for keys in names]

    def read() -> tuple[NDArray[Any], Dataset | None]:
        if inputs is None:
            raise _missing(path, found, "inputs", names)
        with _open(path) as archive:
            values = None if targets is None else _array(path, archive, targets)
            rows = _array(path, archive, inputs)
        return inputs_and_dataset(rows, values, options.regression, name, options.source)

    if inputs and targets:
        return Part(read)
    return Part(read, _missing(path, found, "targets" if inputs else "inputs", names))


def _missing(path: Path, found: Sequence[str], kind: Literal["inputs", "targets"], names: _Names) -> ValueError:
    return ValueError(
        f"{path}: found the arrays {', '.join(found) or '(none)'}, expected {kind} named "
        f"{' or '.join(getattr(names, kind))}; "
        f"save them with np.savez(path, {names.inputs[0]}=..., {names.targets[0]}=...)"
    )


@contextmanager
def _open(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    check_start(path, "an .npz archive")
    with path.open("rb") as file:  # np.load would leave the file of a damaged archive open
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:
            raise unreadable(path, error) from error
        with archive:
            yield archive


def _array(path: Path, archive: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    try:
        return archive[key]
    except Exception as error:
        raise unreadable(f"{path}: {key}", error) from error
