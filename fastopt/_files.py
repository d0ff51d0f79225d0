"""Writing a file so that the previous one stays whole until the new one is; and what killed programs left of that."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["host", "is_alive", "is_leftover", "remove_leftovers", "replace_file"]

_TEMPORARY = re.compile(r"\..+\.(?P<host>[^.]*)\.(?P<process>\d+)\.tmp")


def replace_file(path: Path, write: Callable[[Path], None], advice: str = "make room, or write elsewhere") -> None:
    """Call `write` with a temporary file in the same folder, then move that file to `path`.

    The file gets the permissions of any new file. Temporary files that killed programs left in the folder are removed.

    Raises
    ------
    OSError
        The file cannot be written, because the disk is full, say; the previous file is still there.
    """
    remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{host()}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode & 0o777
        write(temporary)
        temporary.chmod(permissions)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; the file that was there is untouched" if path.exists() else ""
        raise OSError(f"{path}: cannot be written: {error}{kept}; {advice}") from error
    finally:
        with suppress(OSError):  # it was moved, or never made
            temporary.unlink()


def is_leftover(path: Path) -> bool:
    """Return whether `path` is a temporary file of :func:`replace_file` whose process has died.

    Processes of other machines, which a shared folder may be written by, are taken to be alive.
    """
    name = _TEMPORARY.fullmatch(path.name)
    return name is not None and name["host"] == host() and not is_alive(int(name["process"]))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in `folder` whose processes have died."""
    with suppress(OSError):  # no such folder, or not ours to change: writing into it says so
        for path in folder.iterdir():
            if is_leftover(path):
                path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the system write down that a file of the folder is another one now, where it can be asked to."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def host() -> str:
    """Return the name of this machine, as it may stand in a file's name."""
    return re.sub(r"\W", "-", platform.node())


def is_alive(process: int) -> bool:
    """Return whether a process of this machine runs; True where that cannot be asked."""
    if os.name != "posix":
        return True  # signal 0 asks on POSIX only; elsewhere it may end the process
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
