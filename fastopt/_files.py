"""Writing a file so that what was there before stays whole until the new one is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, write: Callable[[Path], None], advice: str = "make room, or write elsewhere") -> None:
    """Have `write` make a file beside `path`, then put it in its place. It gets the permissions of any new file.

    Raises
    ------
    OSError
        It cannot be written (the disk is full, say); what was at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode & 0o777
        write(temporary)
        temporary.chmod(permissions)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        kept = "; the file that was there is untouched" if path.exists() else ""
        raise OSError(f"{path}: cannot be written: {error}{kept}; {advice}") from error
    finally:
        with suppress(OSError):  # it is in place already, or there never was one
            temporary.unlink()
