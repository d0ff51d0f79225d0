"""What is not built in, for the C backend: rules, activations and losses are compiled when first used, and kept.

Libraries are kept in the user's cache directory. A library's name has two digests: of all that it was made from, by
which it is found, and of its own bytes, so that a damaged one is noticed before it is loaded.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from .._constants import MOST_STATES
from ..elements import Activation, ElementLoss
from ..rules import Rule, Sweep
from ..translate import COMPILE_ARGS, user_element_source, user_numbers_source, user_rule_source
from .c_sources import c_sources

__all__ = ["cache_folder", "user_element_address", "user_numbers_address", "user_rule_address"]

_FLAGS = [*COMPILE_ARGS, "-shared", "-fPIC"]


@cache
def user_rule_address(sweep: Sweep, level: str) -> int:
    """Return the address of the ``fastopt_rule`` of a sweep that is not built in; it stays loaded.

    Parameters
    ----------
    sweep
        The sweep.
    level
        The vector width that it is compiled for; it then serves for every width.

    Raises
    ------
    ValueError
        There is no C compiler, it failed, or the sweep has too many states.
    TranslationError
        The sweep's function contains something that C cannot say, or its source cannot be found.
    """
    what = f"rule {sweep.name}"
    if len(sweep.states) > MOST_STATES:
        raise ValueError(
            f"{what}: got {len(sweep.states)} states, expected at most {MOST_STATES} on the c backend; "
            "use the numba backend"
        )
    return _address(what, user_rule_source(_template("user_rule.c"), sweep, level))


@cache
def user_element_address(element: Activation | ElementLoss, level: str) -> int:
    """Return the address of the ``fastopt_activation`` or ``fastopt_loss`` of one that is not built in.

    Parameters and errors are those of :func:`user_rule_address`.
    """
    kind = "activation" if isinstance(element, Activation) else "loss"
    source = user_element_source(_template("user_element.c"), element, level)
    return _address(f"{kind} {element.name}", source)


@cache
def user_numbers_address(rule: Rule) -> int:
    """Return where the address of the function lies that computes the numbers of a rule.

    Errors are those of :func:`user_rule_address`.
    """
    return _address(f"rule {rule.name}", user_numbers_source(_template("user_numbers.c"), rule))


def _template(name: str) -> str:
    return (c_sources() / name).read_text(encoding="utf-8")


def cache_folder() -> Path:
    """Return where libraries are kept: a folder of the user's cache directory.

    Raises
    ------
    OSError
        The user has no home directory.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "fastopt"
    try:
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fastopt"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _address(what: str, source: str) -> int:
    """Return what a library's function gives, whose source is that of `what`."""
    try:
        return _found_or_compiled(what, source)
    except OSError as error:
        raise ValueError(f"{what} cannot be compiled for the c backend: {error}") from error


def _found_or_compiled(what: str, source: str) -> int:
    compiler = _compiler(what)
    key = _digest("\0".join([source, *compiler, _description_of(*compiler), *_FLAGS]).encode())
    for path in _whole_libraries(key):
        with suppress(OSError):  # in a folder from which nothing may be loaded, say
            return _load(path)
    with tempfile.TemporaryDirectory(prefix="fastopt-") as folder:
        built = _compile(compiler, source, Path(folder), what)
        with suppress(OSError):  # no folder of the user's own: the next process compiles again
            return _load(_keep(built, key))
        return _load(built)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]


def _compiler(what: str) -> tuple[str, ...]:
    """Return the command of the C compiler: `CC` where it is set, else the first that is found."""
    given = shlex.split(os.environ.get("CC", ""))
    for command in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        program = shutil.which(command[0])
        if program:
            return program, *command[1:]
    missing = f"CC={shlex.join(given)} names no program" if given else "there is no C compiler (cc, gcc, clang)"
    raise ValueError(
        f"{what} is not built in, and {missing} to compile it with for the c backend; "
        "install gcc or clang, or use the numba backend (pip install numba)"
    )


@cache
def _description_of(*compiler: str) -> str:
    """Return what a compiler defines in advance: its version, and what it compiles for."""
    return _run([*compiler, "-dM", "-E", "-x", "c", "-"]).stdout


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


def _folder() -> Path:
    """Return the cache's folder, where only the user may put what is going to be loaded."""
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} can be written to by other users")
    return folder


def _whole_libraries(key: str) -> Iterator[Path]:
    """Yield the libraries of a key, and remove those whose bytes are not what they were."""
    with suppress(OSError):
        for path in sorted(_folder().glob(f"{key}-*.so")):
            if path.stem == f"{key}-{_digest(path.read_bytes())}":
                yield path
            else:
                path.unlink()


def _compile(compiler: tuple[str, ...], source: str, folder: Path, what: str) -> Path:
    (folder / "user.c").write_text(source, encoding="utf-8")
    result = _run([*compiler, *_FLAGS, "user.c", "-o", "user.so", "-lm"], folder)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error" in line] or [f"status {result.returncode}"]
        raise ValueError(f"{what} does not compile for the c backend: {shlex.join(compiler)}: {lines[0]}")
    return folder / "user.so"


def _keep(built: Path, key: str) -> Path:
    """Put a library into the cache, whole at every moment, and return where it is."""
    folder, data = _folder(), built.read_bytes()
    path = folder / f"{key}-{_digest(data)}.so"
    handle, temporary = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    return path


def _load(path: Path) -> int:
    """Return what a library's function gives; the library stays loaded, and needs its file no longer."""
    function = ctypes.CDLL(str(path)).fastopt_user
    function.restype = ctypes.c_void_p
    return int(function())
