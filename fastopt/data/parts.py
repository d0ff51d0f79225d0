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
        The error to raise if the part is to train on, such as that it has no targets; None if it has all it needs.
    """

    read: Callable[[], tuple[NDArray[Any], Dataset | None]]
    training_error: Exception | None = None

    def dataset(self) -> Dataset:
        """Return inputs and targets, or raise `training_error`."""
        if self.training_error is not None:
            raise self.training_error
        dataset = self.read()[1]
        assert dataset is not None
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
