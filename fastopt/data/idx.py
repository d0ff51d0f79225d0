"""IDX files, the format of MNIST: an images file and a labels file, plain or gzipped, alone or as a folder.

A header of big-endian integers (magic number, then each dimension) is followed by the values, uint8 here.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import from_arrays, inputs_and_dataset
from .dataset import Dataset

__all__ = ["is_images", "is_labels", "read_folder", "read_folder_inputs", "read_images", "read_images_inputs"]

_IMAGES = re.compile(r"images.*idx3-ubyte(\.gz)?$")
_LABELS = re.compile(r"labels.*idx1-ubyte(\.gz)?$")
_GZIP = b"\x1f\x8b"
_KINDS = {1: "labels", 3: "images"}


def is_images(path: Path) -> bool:
    """Return whether the name is that of an images file."""
    return _IMAGES.search(path.name) is not None


def is_labels(path: Path) -> bool:
    """Return whether the name is that of a labels file."""
    return _LABELS.search(path.name) is not None


def read_images(path: Path, source: str, name: str | None = None, *, regression: bool = False) -> Dataset:
    """Return the dataset of an images file and the labels file beside it, one image a row.

    Raises
    ------
    FileNotFoundError
        There is no labels file beside it.
    ValueError
        A file is no IDX file of the right kind, is damaged, or the two have different lengths.
    """
    labels = _labels_beside(path)
    if labels is None:
        plain = _labels_name(path)
        raise FileNotFoundError(f"{path}: found no labels beside it, expected {plain} or {plain}.gz")
    name = name or path.name.removesuffix(".gz")
    return from_arrays(_read(path, 3), _read(labels, 1), regression=regression, name=name, source=source)


def read_images_inputs(
    path: Path, source: str, name: str | None = None, *, regression: bool = False
) -> tuple[NDArray[Any], Dataset | None]:
    """Return the images of a file, one a row, and their dataset if a labels file lies beside it.

    Raises
    ------
    ValueError
        As :func:`read_images`; labels are not missed.
    """
    labels = _labels_beside(path)
    values = None if labels is None else _read(labels, 1)
    name = name or path.name.removesuffix(".gz")
    return inputs_and_dataset(_read(path, 3), values, regression=regression, name=name, source=source)


def read_folder(folder: Path, source: str, *, regression: bool = False) -> tuple[Dataset, Dataset | None]:
    """Return the (training, test) parts in a folder of MNIST's file names; just one part stands for all the data.

    Raises
    ------
    FileNotFoundError
        The folder has no images file, or an images file has no labels beside it.
    ValueError
        There are several images files of one part, or a file is damaged.
    """
    parts = [
        read_images(path, source, name, regression=regression)
        for path, name in zip(_parts(folder), _names(folder), strict=False)
    ]
    return parts[0], parts[1] if len(parts) > 1 else None


def read_folder_inputs(folder: Path, source: str, *, regression: bool = False) -> tuple[NDArray[Any], Dataset | None]:
    """Return the images of the test part in a folder, or of its only part, and their dataset if they have labels.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_folder`; labels are not missed.
    """
    parts = _parts(folder)
    return read_images_inputs(parts[-1], source, _names(folder)[len(parts) - 1], regression=regression)


def _names(folder: Path) -> tuple[str, str]:
    name = folder.resolve().name or "data"
    return name, f"{name}-test"


def _parts(folder: Path) -> list[Path]:
    """Return the images files of the training and the test part, or the only one."""
    found = {path.name.removesuffix(".gz"): path for path in sorted(folder.iterdir(), reverse=True) if is_images(path)}
    if len(found) == 1:
        return list(found.values())
    train = [path for path in found.values() if "train" in path.name]
    test = [path for path in found.values() if "t10k" in path.name or "test" in path.name]
    if not found:
        there = sorted([path.name for path in folder.iterdir()])
        raise FileNotFoundError(
            f"{folder}: got a folder with {', '.join(there[:8]) or 'nothing'}{', ...' * (len(there) > 8)}, expected "
            "MNIST's file names, such as train-images-idx3-ubyte.gz; for other formats, give the file"
        )
    if len(found) != 2 or len(train) != 1 or len(test) != 1 or train == test:
        raise ValueError(
            f"{folder}: got the images files {', '.join(sorted(found))}, expected one train-images and one t10k-images "
            "file; give the one to read"
        )
    return [train[0], test[0]]


def _labels_name(images: Path) -> str:
    return images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")


def _labels_beside(images: Path) -> Path | None:
    plain = _labels_name(images)
    return next((path for name in (plain, f"{plain}.gz") if (path := images.parent / name).is_file()), None)


def _read(path: Path, dimensions: int) -> NDArray[Any]:
    content, header = _content(path), 4 + 4 * dimensions
    magic, expected = int.from_bytes(content[:4], "big"), 0x800 + dimensions
    if len(content) >= 4 and magic != expected:
        raise ValueError(
            f"{path}: got the magic number {magic}, expected {expected}, that of an IDX file of uint8 "
            f"{_KINDS[dimensions]}"
        )
    if len(content) < header:
        raise ValueError(f"{path}: got {len(content)} bytes, expected a header of {header}; the file is truncated")
    shape = tuple([int(size) for size in np.frombuffer(content, ">u4", count=dimensions, offset=4)])
    wanted, got = math.prod(shape), len(content) - header
    if got != wanted:
        problem = "the file is truncated" if got < wanted else f"there are {got - wanted} trailing bytes"
        raise ValueError(f"{path}: got {got} bytes of data, expected {wanted} for the shape {shape}; {problem}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    """Return the bytes, unzipped if they are gzipped: what a browser saved does not always match its name."""
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: got gzip data that is damaged ({error}), expected a whole file; get it again"
        ) from error
