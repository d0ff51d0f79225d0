"""Rules, activations and losses in a user's own file, named as ``path/to/file.py:name``."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ._errors import unknown_name

__all__ = ["find_in_file", "is_in_file"]

T = TypeVar("T")


_SPEC = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w*))?", re.DOTALL)

_DIGEST = "__fastopt_digest__"


def is_in_file(spec: str) -> bool:
    """Return whether `spec` has the form ``FILE.py`` or ``FILE.py:NAME``.

    Examples
    --------
    >>> [is_in_file(spec) for spec in ("own.py:adam", "own.py", "adam", "my.python/adam")]
    [True, True, False, False]
    """
    return _SPEC.fullmatch(spec) is not None


def find_in_file(spec: str, kind: str, wanted: type[T]) -> T:
    """Return what the file defines under that name. The file is run.

    Parameters
    ----------
    spec
        ``"FILE.py:NAME"``; ``":NAME"`` may be omitted where the file has one of the kind.
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
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise ValueError(f"{kind} {spec!r}: expected FILE.py:NAME")
    file, name = Path(parts["file"]), parts["name"] or ""
    if not file.is_file():
        raise FileNotFoundError(f"{kind} {spec!r}: there is no file {file}; expected a built-in {kind} or FILE.py:NAME")
    module = _module_of(file, f"{kind} {spec!r}")
    found = {value.name: value for value in vars(module).values() if isinstance(value, wanted)}  # type: ignore[attr-defined]
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        if not found:
            raise ValueError(f"{kind} {spec!r}: {file} defines no {kind}; decorate a function with @fastopt.{kind}")
        raise unknown_name(f"{kind} in {file}", name, found)
    return found[name]


def _module_of(file: Path, what: str) -> ModuleType:
    """Return the module of a file. It is run once in a process, and again after it has changed."""
    # One module name per path: compiled kernels on disk are found again by the name of the module.
    name = f"fastopt_user_{sha256(str(file.resolve()).encode()).hexdigest()[:16]}"
    digest = sha256(file.read_bytes()).hexdigest()
    module = sys.modules.get(name)
    if module is None or module.__dict__.get(_DIGEST) != digest:
        module = _run(file, name, what)
        module.__dict__[_DIGEST] = digest
    return module


def _run(file: Path, name: str, what: str) -> ModuleType:
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
