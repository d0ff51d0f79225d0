"""Rules in a user's own file, named as ``path/to/file.py:rule``."""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from .._errors import unknown_name
from .rule import Rule

__all__ = ["load_rule"]


def load_rule(spec: str) -> Rule:
    """Return the rule that the file defines. The file is run.

    Parameters
    ----------
    spec
        ``"file.py:name"``; the name may be left out where the file has one rule.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be run, defines no rule of that name, or several and none was named.
    """
    path, _, name = spec.partition(".py")
    file, name = Path(f"{path}.py"), name.removeprefix(":")
    if not file.is_file():
        raise FileNotFoundError(f"rule {spec!r}: there is no file {file}; expected a built-in rule or file.py:rule")
    # A name of its own for each path: what is compiled and kept on disk is found again by the module's name.
    name_of_module = f"fastopt_rules_{sha256(str(file.resolve()).encode()).hexdigest()[:16]}"
    module_spec = spec_from_file_location(name_of_module, file)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"rule {spec!r}: {file} cannot be imported")
    module = module_from_spec(module_spec)
    sys.modules[name_of_module] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name_of_module]
        raise ValueError(f"rule {spec!r}: {file} cannot be run: {type(error).__name__}: {error}") from error
    found = {value.name: value for value in vars(module).values() if isinstance(value, Rule)}
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        if not found:
            raise ValueError(f"rule {spec!r}: {file} defines no rule; decorate a function with @fastopt.rule")
        raise unknown_name(f"rule in {file}", name, found)
    return found[name]
