"""IDX files, the format of MNIST: an images file and a labels file, plain or gzipped, or a folder with several.

A header of big-endian integers (magic number, then each dimension) is followed by the values, uint8 here.
"""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from .arrays import inputs_and_dataset
from .dataset import Dataset
from .parts import Options, Part, gzip_errors

__all__ = ["folder_parts", "images_parts", "refuse_labels"]

_ENDINGS = ("idx3-ubyte", "idx3-ubyte.gz")
_KINDS = {1: "labels", 3: "images"}
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def images_parts(path: Path, options: Options) -> list[Part]:
    """Return the images in a file, one a row, with the labels in the file next to it if there is one."""
    return [_part(path, path.name.removesuffix(".gz"), options)]


def refuse_labels(path: Path, options: Options) -> NoReturn:
    """Raise the error for a labels file in place of its images file."""
    raise ValueError(f"{path}: got a labels file, expected the images file; its labels are found next to it")


def folder_parts(folder: Path, options: Options) -> list[Part]:
    """Return the training and the test part in a folder of MNIST's file names, or its only part.

    Raises
    ------
    FileNotFoundError
        The folder has no images file.
    ValueError
        There are several images files of one part.
    """
    name = folder.resolve().name or "data"
    return [_part(path, name + end, options) for path, end in zip(_images(folder), ("", "-test"), strict=False)]


def _images(folder: Path) -> list[Path]:
    """Return the images files of the training and the test part, or the only one; plain files before gzipped ones."""
    files = sorted(folder.iterdir(), reverse=True)
    found = {path.name.removesuffix(".gz"): path for path in files if path.name.endswith(_ENDINGS)}
    if len(found) == 1:
        return list(found.values())
    train = [path for path in found.values() if "train" in path.name]
    test = [path for path in found.values() if "t10k" in path.name or "test" in path.name]
    if not found:
        names = sorted([path.name for path in files])
        raise FileNotFoundError(
            f"{folder}: got a folder with {', '.join(names[:8]) or 'nothing'}{', ...' * (len(names) > 8)}, expected "
            "MNIST's file names, such as train-images-idx3-ubyte.gz; for other formats, give the file"
        )
    if len(found) != 2 or len(train) != 1 or len(test) != 1 or train == test:
        raise ValueError(
            f"{folder}: got the images files {', '.join(sorted(found))}, expected one train-images and one t10k-images "
            "file; give the one to read"
        )
    return train + test


def _part(images: Path, name: str, options: Options) -> Part:
    plain = re.sub("(?i)images", "labels", re.sub("(?i)idx3", "idx1", images.name.removesuffix(".gz")))
    labels = next((path for end in ("", ".gz") if (path := images.parent / f"{plain}{end}").is_file()), None)

    def read() -> tuple[NDArray[Any], Dataset | None]:
        targets = None if labels is None else _read(labels, 1)
        return inputs_and_dataset(_read(images, 3), targets, options.regression, name, options.source)

    if labels is not None:
        return Part(read)
    return Part(read, FileNotFoundError(f"{images}: found no labels next to it, expected {plain} or {plain}.gz"))


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the values of a file, unzipped if they are gzipped: browsers unzip and leave the name as it was."""
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not zipped:
            return _values(path, file, dimensions)
        with gzip_errors(path), gzip.GzipFile(fileobj=file) as unzipped:
            return _values(path, unzipped, dimensions)  # type: ignore[arg-type]


def _values(path: Path, file: BinaryIO, dimensions: int) -> NDArray[np.uint8]:
    size = 4 + 4 * dimensions
    header = file.read(size)
    magic, expected = int.from_bytes(header[:4], "big"), 0x800 + dimensions
    if len(header) >= 4 and magic != expected:
        raise ValueError(
            f"{path}: got the magic number {magic}, expected {expected}, that of an IDX file of uint8 "
            f"{_KINDS[dimensions]}"
        )
    if len(header) < size:
        raise ValueError(f"{path}: got {len(header)} bytes, expected a header of {size}; the file is truncated")
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
    wanted, values = math.prod(shape), bytearray()
    # Neither the header nor the length of the file is trusted: memory grows with what is read, up to one byte too many.
    while chunk := file.read(min(_CHUNK, wanted + 1 - len(values))):
        values += chunk
    if len(values) != wanted:
        got, cut = (
            (str(len(values)), "; the file is truncated") if len(values) < wanted else (f"more than {wanted}", "")
        )
        raise ValueError(f"{path}: got {got} bytes of data, expected {wanted} for the shape {shape}{cut}")
    return np.frombuffer(values, np.uint8).reshape(shape)
