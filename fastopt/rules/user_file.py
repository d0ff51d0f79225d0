"""Rules in a user's own file, named as ``path/to/file.py:rule``."""

from __future__ import annotations

from .._user_file import find_in_file
from .rule import Rule

__all__ = ["load_rule"]


def load_rule(spec: str) -> Rule:
    """Return the rule that a file defines; see :func:`find_in_file` for what it raises. The file is run."""
    return find_in_file(spec, "rule", Rule)
