"""Loading data of any known format, chosen by the name of the file."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .classes import align_classes
from .csv import csv_parts
from .dataset import Dataset
from .digits import digits
from .idx import folder_parts, images_parts, refuse_labels
from .npy import npy_parts, pair_parts
from .npz import npz_parts
from .parts import Options, Reader

__all__ = ["load", "load_inputs"]

_READERS: dict[str, Reader] = {
    ".npz": npz_parts,
    ".npy": npy_parts,
    ".csv": csv_parts,
    ".csv.gz": csv_parts,
    "idx3-ubyte": images_parts,
    "idx3-ubyte.gz": images_parts,
    "idx1-ubyte": refuse_labels,
    "idx1-ubyte.gz": refuse_labels,
}
_KNOWN = ".npz, .npy, .csv, .csv.gz, ...images-idx3-ubyte(.gz), or a folder of MNIST's files"


def load(
    path: str | Path | None = None, *, target: str | None = None, regression: bool = False
) -> tuple[Dataset, Dataset | None]:
    """Return (data, test): the data at `path`, and its test part if it has one.

    Parameters
    ----------
    path
        None for the built-in digits, or one of

        - ``.npz`` with the arrays x and y (or inputs, images, data; targets, labels, target), or x_train and y_train;
          x_test and y_test give a test part;
        - ``.npy`` with the inputs, and the targets next to it: ``NAME_targets.npy``, ``NAME_labels.npy``,
          ``NAME_y.npy``, or y for x at the start of the name; or both by name: ``"a.npy,b.npy"``. They
          stay on disk, as memory maps;
        - ``.csv`` or ``.csv.gz`` with a header row and numeric features;
        - IDX: an images file with its labels next to it, or a folder with MNIST's four files, which gives a test part.
    target
        The column of a CSV file to predict.
    regression
        Read the targets as quantities even if they are whole numbers, which are class labels otherwise.

    Raises
    ------
    FileNotFoundError
        There is nothing at the path, or a file that belongs to it is missing.
    ValueError
        The format is not known, the file is damaged, or its contents do not fit together.
    TypeError
        Arrays of objects, or of another dtype that is not supported.

    Notes
    -----
    Values are not searched for NaN here, since that reads all of a memory map: :func:`check_dataset` does it.

    Examples
    --------
    >>> data, test = load()
    >>> data.name, test
    ('digits', None)
    """
    location = None if path is None else Path(path).expanduser()
    reader = None if location is None else _reader(location)
    if target is not None and reader is not csv_parts:
        what = "the built-in digits" if path is None else path
        raise ValueError(f"{what}: got target={target!r}, which names a column of a CSV file; leave it out here")
    if location is None or reader is None:
        return digits(regression=regression), None
    data, *test = [part.dataset() for part in reader(location, Options(str(path), target, regression=regression))]
    return data, _like_training(test[0], data) if test else None


def load_inputs(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    regression: bool = False,
) -> tuple[NDArray[Any], Dataset | None]:
    """Return (inputs, dataset): the rows at `path`, and the same with their targets, None if there are no targets.

    If the data has a training and a test part, only the test part is read.

    Parameters
    ----------
    path
        As for :func:`load`, but the targets may be missing: an ``.npz`` with only inputs, an ``.npy`` or an IDX images
        file with nothing next to it, a ``.csv`` without the target column.
    columns
        The names of the features in training. The columns of a CSV file are taken by these names and in this order, and
        its other columns are ignored. None takes all columns but the target. Other formats ignore it.
    target
        The target column in training. If a CSV file has it, the rows have targets. Other formats ignore it.
    regression
        As for :func:`load`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As :func:`load`; or a CSV file lacks one of the `columns`.

    Notes
    -----
    The targets have the classes of this data: :func:`align_classes` numbers them as in training. Memory maps stay
    memory maps, so only the values of CSV files are checked to be finite.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "new.csv")
    ...     _ = file.write_text("id,width,length\\na1,2,30\\na2,4,50\\n")
    ...     inputs, dataset = load_inputs(file, columns=["length", "width"], target="kind")
    >>> inputs, dataset
    (array([[30.,  2.],
           [50.,  4.]]), None)
    """
    location = Path(path).expanduser()
    return _reader(location)(location, Options(str(path), target, columns, regression))[-1].read()


def _reader(path: Path) -> Reader:
    """Return the reader for what is at `path`."""
    if path.is_dir():
        return folder_parts
    if not path.exists():
        if "," in str(path):
            return pair_parts
        raise _missing(path)
    reader = next((reader for ending, reader in _READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        raise ValueError(f"{path}: got a file of unknown kind, expected {_KNOWN}")
    return reader


def _missing(path: Path) -> FileNotFoundError:
    others = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = get_close_matches(path.name, others, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return FileNotFoundError(f"{path}: no such file or folder, expected {_KNOWN}{hint}")


def _like_training(test: Dataset, data: Dataset) -> Dataset:
    """Return the test part with the class indices of the training part, if they fit together."""
    if test.features != data.features:
        raise ValueError(f"{test.name}: got {test.features} features, expected {data.features} as in the training part")
    test = align_classes(test, data.classes)
    if test.targets.shape[1:] != data.targets.shape[1:]:
        raise ValueError(f"{test.name}: got targets of shape {test.targets.shape}, training has {data.targets.shape}")
    return test
