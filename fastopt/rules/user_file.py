"""Rules in a user's own file, named as ``path/to/file.py:rule``."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .._errors import unknown_name
from .rule import Rule

__all__ = ["load_rule", "names_a_file"]

_SPEC = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w*))?", re.DOTALL)

_DIGEST = "__fastopt_digest__"


def names_a_file(spec: str) -> bool:
    """Return whether `spec` has the form ``FILE.py`` or ``FILE.py:NAME``.

    Examples
    --------
    >>> [names_a_file(spec) for spec in ("own.py:adam", "own.py", "adam", "my.python/adam")]
    [True, True, False, False]
    """
    return _SPEC.fullmatch(spec) is not None


def load_rule(spec: str) -> Rule:
    """Return a rule that a file defines. The file is run.

    Parameters
    ----------
    spec
        ``"FILE.py:NAME"``; ``":NAME"`` may be omitted when the file defines one rule.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file cannot be run, defines no rule of that name, or defines several and none was named.
    """
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise ValueError(f"rule {spec!r}: expected FILE.py:NAME")
    file, name = Path(parts["file"]), parts["name"]
    if not file.is_file():
        raise FileNotFoundError(f"rule {spec!r}: there is no file {file}; expected a built-in rule or FILE.py:NAME")
    found = _rules_in(file, spec)
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        if not found:
            raise ValueError(f"rule {spec!r}: {file} defines no rule; decorate a function with @fastopt.rule")
        raise unknown_name(f"rule in {file}", name or "", found)
    return found[name]


def _rules_in(file: Path, spec: str) -> dict[str, Rule]:
    """Return the rules of a file by name. It is run once in a process, and again after it has changed."""
    # One module name per path: compiled kernels on disk are found again by the name of the rule's module.
    name = f"fastopt_rules_{sha256(str(file.resolve()).encode()).hexdigest()[:16]}"
    digest = sha256(file.read_bytes()).hexdigest()
    module = sys.modules.get(name)
    if module is None or module.__dict__.get(_DIGEST) != digest:
        module = _run(file, name, spec)
        module.__dict__[_DIGEST] = digest
    return {value.name: value for value in vars(module).values() if isinstance(value, Rule)}


def _run(file: Path, name: str, spec: str) -> ModuleType:
    module_spec = spec_from_file_location(name, file)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"rule {spec!r}: {file} cannot be imported")
    module = module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"rule {spec!r}: {file} cannot be run: {type(error).__name__}: {error}") from error
    return module
