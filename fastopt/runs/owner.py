"""Who a run's folder belongs to: one process at a time, until it closes the run or ends."""

from __future__ import annotations

import errno
import os
import re
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .._files import host, is_alive, is_leftover

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["OWNER_FILE", "Claim", "is_unused"]

OWNER_FILE = ".fastopt-run"
"""The file in a run's folder whose lock says that the run is active; it names the process."""

_PROCESS = re.compile(r"process (?P<number>\d+) on (?P<host>\S+)")
_LONGEST = 200


class Claim:
    """The right to write into a folder, which one process has at a time.

    A lock of the operating system decides. It ends with the process, however that ends, so that a killed run holds
    nothing, and no one has to guess from a process number, which another program may have got since. Only on a file
    system without locks is that number asked for.

    Parameters
    ----------
    folder
        An existing folder.

    Raises
    ------
    BlockingIOError
        Another run has the folder; the message names its process.
    OSError
        The folder cannot be written to.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name, Claim(Path(name)):
    ...     Claim(Path(name))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    BlockingIOError: ... is in use by another run (process ...
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / OWNER_FILE
        try:
            self._descriptor = _locked(self._path)
            self.release = weakref.finalize(self, _release, self._path, self._descriptor, os.getpid())
            """Give the folder back; nothing where that is done."""
            _name_owner(self._descriptor)
        except BlockingIOError:
            raise
        except OSError as error:
            if hasattr(self, "release"):
                self.release()
            raise OSError(
                f"{folder}: cannot be written to: {error.strerror}; a run needs a folder that it can write to"
            ) from error

    @property
    def holds(self) -> bool:
        """Whether the folder is still the one that was claimed; it may have been removed, and made again by others."""
        return self.release.alive and _is_at(self._path, self._descriptor)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def is_unused(folder: Path) -> bool:
    """Return whether nothing is in a folder but what killed runs left."""
    return all(path.name == OWNER_FILE or is_leftover(path) for path in folder.iterdir())


def _locked(path: Path) -> int:
    """Return the descriptor of the file at `path`, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(path, descriptor)
            if _is_at(path, descriptor):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it between our opening and our locking


def _lock(path: Path, descriptor: int) -> None:
    """Lock a file, or raise BlockingIOError."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no file locks")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise _in_use(path, _read(descriptor), "wait until that has ended") from None
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
        _check_owner(path, _read(descriptor))


def _check_owner(path: Path, owner: str) -> None:
    """Raise BlockingIOError if the file names a process that may run."""
    named = _PROCESS.fullmatch(owner)
    if named and (named["host"] != host() or is_alive(int(named["number"]))):
        raise _in_use(path, owner, f"if that has ended, remove {path}")


def _in_use(path: Path, owner: str, advice: str) -> BlockingIOError:
    return BlockingIOError(
        f"{path.parent} is in use by another run ({owner or 'it just began'}); {advice}, or use another folder"
    )


def _read(descriptor: int) -> str:
    return os.read(descriptor, _LONGEST).decode(errors="replace").strip()


def _name_owner(descriptor: int) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {host()}\n".encode())


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(path: Path, descriptor: int, process: int) -> None:
    """Remove the file and unlock it, in that order; a forked child only closes what it inherited."""
    with suppress(OSError):  # the folder may have been removed meanwhile
        if os.getpid() == process and _is_at(path, descriptor):
            path.unlink()
    with suppress(OSError):
        os.close(descriptor)
