"""Saving and loading a training: one safetensors file, written beside the old one and then put in its place.

The file holds each layer's weights and biases and each state of the optimizer as named tensors, and everything else
(the model's and the optimizer's configuration, counts, position) as JSON in its header. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._bfloat16 import bfloat16
from ._files import replace_file
from .nn import MLP
from .optim import Optimizer

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

_FORMAT, _VERSION = "fastopt", 1
_MODEL = "model/"
_OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class Checkpoint:
    """What a file held.

    Attributes
    ----------
    model
        The model, with its weights.
    optimizer
        What :meth:`Optimizer.load_state_dict` takes.
    extra
        The JSON value that was saved with them.
    arrays
        The arrays that were saved with them.
    """

    model: MLP
    optimizer: dict[str, Any]
    extra: Any
    arrays: dict[str, NDArray[Any]]


def save_checkpoint(
    path: Path, model: MLP, optimizer: Optimizer, *, extra: Any = None, arrays: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write model and optimizer to `path`. A file that is there already is replaced whole or not at all.

    Parameters
    ----------
    path
        A file in a folder that exists.
    model, optimizer
        What to save.
    extra
        Anything that JSON holds.
    arrays
        Further arrays by name.

    Raises
    ------
    OSError
        It cannot be written (the disk is full, say); what was at `path` is still there.
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
            save_file(tensors, temporary, metadata={_FORMAT: json.dumps(header)})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    replace_file(path, write)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is truncated, or is no file of this kind.
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
            f"{path}: is no whole safetensors file ({error}); it may be truncated: use a backup"
        ) from error
    header = _header(path, metadata)
    try:
        return _assemble(header, tensors)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing in it; it was changed after saving, use a backup") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its contents do not fit together ({error}); it was changed after saving") from error


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[_FORMAT])
        version = header["version"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path}: is a safetensors file, but none that fastopt saved; expected one such as RUN/model.safetensors"
        ) from None
    if version != _VERSION:
        raise ValueError(f"{path}: got format version {version}, expected {_VERSION}; use the fastopt that saved it")
    return dict(header)


def _assemble(header: Mapping[str, Any], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    model = MLP.from_config(header["model"])
    saved = dict(header["optimizer"])
    saved["hyper"] = {key: tuple(v) if isinstance(v, list) else v for key, v in saved["hyper"].items()}
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
    if values.dtype != view.dtype or values.shape != view.shape:
        raise ValueError(f"a tensor is {values.dtype} {values.shape}, expected {view.dtype} {view.shape}")
    view[...] = values
