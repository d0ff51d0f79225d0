"""What a reader of a format returns: the parts of the data at a path, whose values are read when asked for."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .dataset import Dataset

__all__ = ["Options", "Part", "Reader", "gzip_errors"]


@dataclass(frozen=True)
class Options:
    """How data is read: the arguments of :func:`load` and :func:`load_inputs`, and the path as it was given."""

    source: str
    target: str | None = None
    columns: Sequence[str] | None = None
    regression: bool = False


@dataclass(frozen=True)
class Part:
    """The training part, the test part, or all of the data at a path.

    Parameters
    ----------
    read
        Returns (inputs, their dataset), or (inputs, None) if there are no targets.
    training_error
        What is missing for training, such as the targets; None if nothing is.
    """

    read: Callable[[], tuple[NDArray[Any], Dataset | None]]
    training_error: Exception | None = None

    def dataset(self) -> Dataset:
        """Return inputs and targets, or raise `training_error`."""
        dataset = None if self.training_error else self.read()[1]
        if dataset is None:
            raise self.training_error or AssertionError("a part without targets has a training_error")
        return dataset


# Returns one part, or the training part and the test part.
Reader = Callable[[Path, Options], list[Part]]


@contextmanager
def gzip_errors(path: Path) -> Iterator[None]:
    """Turn the errors of decompressing the file into a ValueError that names it."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: got gzip data that is damaged ({error}), expected a whole file; get it again"
        ) from error
