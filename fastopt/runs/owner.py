"""Who a run's folder belongs to: one process at a time, until it closes the run or ends."""

from __future__ import annotations

import errno
import os
import platform
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second run out of the folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["OWNER_FILE", "Claim"]

OWNER_FILE = ".owner"
"""The file in a run's folder whose lock says that the run is active; it names the process."""

_LONGEST = 200


class Claim:
    """The right to write into a folder, which one process has at a time.

    A lock of the operating system decides. It ends with the process, however that ends, so that a killed run holds
    nothing, and nobody has to guess from a process number, which another program may have got since.

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
        path = folder / OWNER_FILE
        try:
            descriptor = _locked(path)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(
                f"{folder}: cannot be written to: {error.strerror}; a run needs a folder that it can write to"
            ) from error
        self.release = weakref.finalize(self, _release, path, descriptor, os.getpid())
        """Give the folder back; nothing where that is done."""

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _locked(path: Path) -> int:
    """Return the descriptor of the file at `path`, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            owner = os.read(descriptor, _LONGEST).decode(errors="replace").strip()
            os.close(descriptor)
            raise BlockingIOError(
                f"{path.parent} is in use by another run ({owner or 'it just began'}); "
                "wait until that has ended, or use another folder"
            ) from None
        os.close(descriptor)  # its owner removed it between our opening and our locking


def _lock(descriptor: int) -> None:
    """Lock a file, or raise BlockingIOError; file systems without locks keep nobody out."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(error.errno, error.strerror) from error
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise


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
