"""Rules, activations and losses in a user's own file, named as ``path/to/file.py:name``."""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ._errors import unknown_name

__all__ = ["find_in_file", "is_in_file"]

T = TypeVar("T")


def is_in_file(name: str) -> bool:
    """Return whether the name is one in a file."""
    return ".py" in name


def find_in_file(spec: str, kind: str, wanted: type[T]) -> T:
    """Return what the file defines under that name. The file is run.

    Parameters
    ----------
    spec
        ``"file.py:name"``; the name may be left out where the file has one of the kind.
    kind
        ``"rule"``, ``"activation"`` or ``"loss"``, which is also the decorator that makes one.
    wanted
        The type of it, which has an attribute `name`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be run, defines none of that name, or several and none was named.
    """
    path, _, name = spec.partition(".py")
    file, name = Path(f"{path}.py"), name.removeprefix(":")
    if not file.is_file():
        raise FileNotFoundError(
            f"{kind} {spec!r}: there is no file {file}; expected a built-in {kind} or file.py:{kind}"
        )
    module = _run(f"{kind} {spec!r}", file)
    found = {value.name: value for value in vars(module).values() if isinstance(value, wanted)}  # type: ignore[attr-defined]
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        if not found:
            raise ValueError(f"{kind} {spec!r}: {file} defines no {kind}; decorate a function with @fastopt.{kind}")
        raise unknown_name(f"{kind} in {file}", name, found)
    return found[name]


def _run(what: str, file: Path) -> ModuleType:
    # A name of its own for each path: what is compiled and kept on disk is found again by the module's name.
    name = f"fastopt_user_{sha256(str(file.resolve()).encode()).hexdigest()[:16]}"
    module_spec = spec_from_file_location(name, file)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"{what}: {file} cannot be imported")
    module = module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{what}: {file} cannot be run: {type(error).__name__}: {error}") from error
    return module
