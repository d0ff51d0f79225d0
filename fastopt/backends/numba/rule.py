"""A rule's loops from generated source, run under the rule's own file and module: there Numba's cache finds them."""

from __future__ import annotations

import inspect
from functools import cache
from hashlib import sha256
from types import ModuleType
from typing import Any

from ...rules import Rule, vocabulary
from ...rules.vocabulary import clip
from ..source import positional
from . import decorators, intrinsics
from .decorators import inlined
from .intrinsics import fma, same_dtype

__all__ = ["digest_of_helpers", "run_source"]


@cache
def digest_of_helpers(*more: ModuleType) -> str:
    """Return a digest of the files whose functions end up inside a rule's machine code."""
    modules = (decorators, intrinsics, vocabulary, *more)
    return sha256("".join(inspect.getsource(module) for module in modules).encode()).hexdigest()


def run_source(rule: Rule, prefix: str, source: str, **names: Any) -> dict[str, Any]:
    """Return the functions that the source defines, beside the names that it uses; its block is compiled already."""
    space: dict[str, Any] = {
        "__name__": rule.update.__module__,
        "rule": inlined(positional(rule.update)),
        "clip": inlined(clip),
        "fma": fma,
        "same_dtype": same_dtype,
        **names,
    }
    exec(compile(source, rule.update.__code__.co_filename, "exec"), space)
    space["block"] = inlined(space[f"{prefix}_block"])
    return space
