"""C files with their includes expanded, so that one file is all there is to compile."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

__all__ = ["expanded"]

_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)


def expanded(path: Path, kept: Collection[str] = ()) -> str:
    """Return the text of a C file with the files that it includes by quoted names in the place of these lines.

    Parameters
    ----------
    path
        The file. What it includes is looked for in its folder, and so is what those files include.
    kept
        Names that stay included.
    """

    def text_of(include: re.Match[str]) -> str:
        return include[0] if include[1] in kept else expanded(path.parent / include[1], kept)

    return _INCLUDE.sub(text_of, path.read_text(encoding="utf-8"))
