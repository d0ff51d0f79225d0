"""A rule's loops from generated source, run under the rule's own file and module: there Numba's cache finds them."""

from __future__ import annotations

from typing import Any

from ...rules import Rule, vocabulary
from ...rules.vocabulary import clip
from ..source import positional
from . import decorators, intrinsics
from .decorators import inlined
from .digest import digest_of
from .intrinsics import fma, same_dtype

__all__ = ["digest_of_helpers", "run_source"]


def digest_of_helpers(*more: str) -> str:
    """Return a digest of the files whose functions end up inside a rule's machine code."""
    return digest_of(decorators.__name__, intrinsics.__name__, vocabulary.__name__, *more)


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
