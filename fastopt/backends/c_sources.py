"""Where the C files are that the package carries: ``fastopt.c``, ``fastopt.h``, and a user-defined rule's source."""

from __future__ import annotations

from pathlib import Path

__all__ = ["c_sources"]

_PACKAGE = Path(__file__).parents[1]


def c_sources() -> Path:
    """Return the folder of ``fastopt.c`` and ``fastopt.h``, the whole C library in two files.

    Compile it with ``-O3 -fno-math-errno -ffp-contract=off``, with ``-fopenmp`` for threads, and link with ``-lm``.

    Raises
    ------
    FileNotFoundError
        They have not been generated: this is a checkout that was never built.
    """
    for folder in (_PACKAGE / "c", _PACKAGE.parent / "csrc" / "generated" / "c"):
        if (folder / "fastopt.c").is_file():
            return folder
    raise FileNotFoundError("the C sources of fastopt have not been generated; install it, by pip install -e . say")
