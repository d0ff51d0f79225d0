"""One function that reads what a trained model is to predict from: any format of :func:`load`, targets or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .dataset import Dataset
from .formats import find_format, split_pair
from .idx import read_folder_inputs, read_images_inputs
from .numpy_files import read_npy, read_npy_inputs, read_npz_inputs
from .table import read_csv_inputs

__all__ = ["load_inputs"]


def load_inputs(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    regression: bool = False,
) -> tuple[NDArray[Any], Dataset | None]:
    """Return (inputs, the same with targets): the rows at `path`, and their dataset, None if there are no targets.

    Of data with a training and a test part it is the test part.

    Parameters
    ----------
    path
        As for :func:`load`, but the targets may be missing: an ``.npz`` with inputs alone, an ``.npy`` or an IDX images
        file with nothing beside it, a ``.csv`` without the target column.
    columns
        The names of the features in training. A CSV file's columns are taken by these names and in this order, and its
        other columns are ignored. None takes all columns but the target. Other formats have no names: there it says
        nothing.
    target
        The column that was to be predicted in training, of no meaning for formats other than CSV. If a file has it, the
        rows have targets.
    regression
        As for :func:`load`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As :func:`load`; or a CSV file lacks one of the `columns`.

    Notes
    -----
    The targets have the classes found here: :func:`align_classes` numbers them as in training. Memory maps stay memory
    maps, so values are searched for NaN in CSV files alone.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "new.csv")
    ...     _ = file.write_text("id,width,length\\na1,2,30\\na2,4,50\\n")
    ...     inputs, labelled = load_inputs(file, columns=["length", "width"], target="kind")
    >>> inputs, labelled
    (array([[30.,  2.],
           [50.,  4.]]), None)
    """
    location, source = Path(path).expanduser(), str(path)
    match find_format(location):
        case "pair":
            dataset = read_npy(*split_pair(source), source, regression=regression)
            return dataset.inputs, dataset
        case "csv":
            return read_csv_inputs(location, columns, target, source, regression=regression)
        case "folder":
            return read_folder_inputs(location, source, regression=regression)
        case "npz":
            return read_npz_inputs(location, source, regression=regression)
        case "npy":
            return read_npy_inputs(location, source, regression=regression)
        case "images":
            return read_images_inputs(location, source, regression=regression)
