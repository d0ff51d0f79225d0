"""Saving and loading a training: one safetensors file, written next to the old one and then moved to its place.

The file holds the weights and biases of each layer and each state of the optimizer as named tensors. Everything else
(the configuration of model and optimizer, counts, position) is JSON in its header, and a digest covers both: a file in
which a bit has changed is not loaded. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._bfloat16 import bfloat16
from .._errors import whole_number
from .._files import replace_file
from ..nn import Network
from ..optim import Optimizer
from ..train import MLP

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "sealed"]

_FORMAT, _VERSION = "fastopt", 3
_DIGEST = "sha256"
_MODEL = "model/"
_OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file.

    Attributes
    ----------
    model
        The model, with its weights.
    optimizer
        The argument for :meth:`Optimizer.load_state_dict`.
    extra
        The JSON value saved with them.
    arrays
        The arrays saved with them.
    """

    model: MLP
    optimizer: dict[str, Any]
    extra: Any
    arrays: dict[str, NDArray[Any]]


def save_checkpoint(
    path: Path,
    model: Network,
    optimizer: Optimizer,
    *,
    extra: Any = None,
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write model and optimizer to `path`. An existing file is replaced completely or not at all.

    Parameters
    ----------
    path
        A file in a folder that exists.
    model, optimizer
        The model, and an optimizer of its parameters.
    extra
        Anything that JSON can hold.
    arrays
        Further arrays by name.

    Raises
    ------
    OSError
        The file cannot be written, because the disk is full, say; the previous file is still there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = {_MODEL + name: view for name, view in model.layout.views(model.parameters).items()}
    for state, buffer in optimizer.read_state().items():
        tensors |= {f"{_OPTIMIZER}{state}/{name}": view for name, view in model.layout.views(buffer).items()}
    tensors |= arrays or {}
    saved = optimizer.state_dict()
    saved["state"] = list(saved["state"])
    header = {"version": _VERSION, "model": model.config, "optimizer": saved, "extra": extra}

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata=sealed(header, tensors))
        except SafetensorError as error:
            raise OSError(str(error)) from error

    replace_file(path, write)


def sealed(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the metadata of a file: the header as JSON, and the SHA-256 of that and of the tensors."""
    text = json.dumps(header)
    return {_FORMAT: text, _DIGEST: _digest(text, tensors)}


def _digest(header: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = sha256(header.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"\n{name} {values.dtype.name} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file written by :func:`save_checkpoint`.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is truncated, has changed since it was saved, or is not of this kind.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a model saved by fastopt")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            if any(file.get_slice(name).get_dtype() == "BF16" for name in names):
                bfloat16()  # NumPy knows the dtype from here on
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is not a complete safetensors file ({error}); it may be truncated: use a backup"
        ) from error
    header = _header(path, metadata)
    if metadata.get(_DIGEST) != _digest(metadata[_FORMAT], tensors):
        raise ValueError(f"{path}: it has changed since it was saved (its SHA-256 is another one); use a backup")
    try:
        return _assemble(header, tensors)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing in it; it was changed after saving, use a backup") from error
    except Exception as error:  # a file may hold anything
        raise ValueError(f"{path}: its contents do not fit together ({error}); it was changed after saving") from error


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[_FORMAT])
        version = header["version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(
            f"{path}: is a safetensors file, but not one that fastopt saved; expected one such as RUN/{path.name}"
        ) from None
    if version != _VERSION:
        raise ValueError(f"{path}: got format version {version}, expected {_VERSION}; use the fastopt that saved it")
    return dict(header)


def _assemble(header: Mapping[str, Any], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    config = header["model"]
    for layer, shape in enumerate(pairwise(config["sizes"])):  # before a damaged number takes all memory
        _check_shape(tensors[f"{_MODEL}layers.{layer}.weight"], config["dtype"], shape)
    model = MLP.from_config(config)
    saved = dict(header["optimizer"])
    saved["hyper"] = {key: tuple(v) if isinstance(v, list) else v for key, v in saved["hyper"].items()}
    for count in ("step", "skipped"):
        whole_number(f"optimizer.{count}", saved[count], least=0)
    if not isinstance(saved["lr_scale"], (int, float)) or not 0 <= saved["lr_scale"] < math.inf:
        raise ValueError(f"optimizer.lr_scale: got {saved['lr_scale']!r}, expected a finite number from 0")
    for name, view in model.layout.views(model.parameters).items():
        _fill(view, tensors.pop(_MODEL + name))
    first = model.layout.segments[0].name
    dtypes = {state: tensors[f"{_OPTIMIZER}{state}/{first}"].dtype for state in saved["state"]}
    saved["state"] = {state: np.empty(model.layout.size, dtype) for state, dtype in dtypes.items()}
    for state, buffer in saved["state"].items():
        for name, view in model.layout.views(buffer).items():
            _fill(view, tensors.pop(f"{_OPTIMIZER}{state}/{name}"))
    return Checkpoint(model, saved, header["extra"], tensors)


def _fill(view: NDArray[Any], values: NDArray[Any]) -> None:
    _check_shape(values, view.dtype.name, view.shape)
    view[...] = values


def _check_shape(values: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if values.dtype.name != dtype or values.shape != shape:
        raise ValueError(f"a tensor is {values.dtype} {values.shape}, expected {dtype} {shape}")
