"""One function that loads any of the known formats, chosen by the file's name."""

from __future__ import annotations

from pathlib import Path

from .arrays import from_arrays
from .classes import align_classes
from .dataset import Dataset
from .digits import digits
from .formats import Format, find_format, split_pair
from .idx import read_folder, read_images
from .numpy_files import read_npy, read_npz
from .table import read_csv

__all__ = ["load"]


def load(
    path: str | Path | None = None, *, target: str | None = None, regression: bool = False
) -> tuple[Dataset, Dataset | None]:
    """Return (data, test): the data at `path`, and its test part if it comes with one.

    Parameters
    ----------
    path
        None for the built-in digits, or one of

        - ``.npz`` with the arrays x and y (or inputs, images, data; targets, labels, target), or with x_train, y_train,
          x_test and y_test, which gives a test part;
        - ``.npy`` with the inputs, and the targets beside it: ``NAME_targets.npy``, ``NAME_labels.npy``,
          ``NAME_y.npy``, or y for x at the start of the name; or both by name: ``"a.npy,b.npy"``. They
          stay on disk, as memory maps;
        - ``.csv`` or ``.csv.gz`` with a header row and numeric features;
        - IDX: an images file with its labels beside it, or a folder with MNIST's four files, which gives a test part.
    target
        The column of a CSV file to predict.
    regression
        Read the targets as quantities even if they are whole numbers, which else are class labels.

    Raises
    ------
    FileNotFoundError
        There is nothing at the path, or a file that belongs to it is missing.
    ValueError
        The format is not known, the file is damaged, or what it holds does not fit together.
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
    if path is None:
        _refuse_target(target, "the built-in digits")
        return _digits(regression), None
    location, source = Path(path).expanduser(), str(path)
    kind = find_format(location)
    if kind == "csv":
        return read_csv(location, target, source, regression=regression), None
    _refuse_target(target, source)
    return _together(*_load(kind, location, source, regression))


def _digits(regression: bool) -> Dataset:
    data = digits()
    if not regression:
        return data
    return from_arrays(data.inputs, data.targets, regression=True, name=data.name, source=data.source)


def _load(kind: Format, path: Path, source: str, regression: bool) -> tuple[Dataset, Dataset | None]:
    if kind == "pair":
        return read_npy(*split_pair(source), source, regression=regression), None
    if kind == "folder":
        return read_folder(path, source, regression=regression)
    if kind == "npz":
        return read_npz(path, source, regression=regression)
    if kind == "npy":
        return read_npy(path, None, source, regression=regression), None
    return read_images(path, source, regression=regression), None


def _together(data: Dataset, test: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """Return both parts, the test part with the class indices of the other, if they fit together."""
    if test is None:
        return data, None
    if test.features != data.features:
        raise ValueError(f"{test.name}: got {test.features} features, expected {data.features} as in the training part")
    test = align_classes(test, data.classes)
    if test.targets.shape[1:] != data.targets.shape[1:]:
        raise ValueError(f"{test.name}: got targets of shape {test.targets.shape}, training has {data.targets.shape}")
    return data, test


def _refuse_target(target: str | None, source: str) -> None:
    if target is not None:
        raise ValueError(f"{source}: got target={target!r}, which names a column of a CSV file; leave it out here")
