"""The parser of a command: its errors show that command's own usage, and options may depend on the arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["CommandParser"]


class CommandParser(argparse.ArgumentParser):
    """An argument parser without abbreviations; sub-parsers are of this class too.

    Attributes
    ----------
    prepare
        Called with the arguments before they are parsed; it may add options that depend on them. Returns a hint for the
        error about an unknown option. A ValueError, TypeError or OSError from it ends the program with status 1.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "allow_abbrev": False})
        self.prepare: Callable[[Sequence[str]], str] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the arguments; unknown ones are an error here, where the usage to be shown is known."""
        args = sys.argv[1:] if args is None else args
        hint = self._prepare(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._describe_unknown(unknown, hint))
        return parsed, unknown

    def _prepare(self, args: Sequence[str]) -> str:
        try:
            return self.prepare(args) if self.prepare else ""
        except (ValueError, TypeError, OSError) as error:
            self.exit(1, f"{self.prog}: error: {error}\n")

    def _describe_unknown(self, unknown: list[str], hint: str) -> str:
        option = next((word.partition("=")[0] for word in unknown if word.startswith("--")), "")
        if not option:
            return f"unexpected argument {unknown[0]!r}"
        nearest = get_close_matches(option, self._option_string_actions, n=1)
        hints = [*(f"did you mean {name}?" for name in nearest), *([hint] if hint else [])]
        return f"unknown option {option}" + (f": {' '.join(hints)}" if hints else "")
