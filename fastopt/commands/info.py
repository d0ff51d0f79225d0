"""``fastopt info``: backends, processor and versions of this installation."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__
from ..backends import BACKENDS, available_cores, default_backend, describe_backend, why_missing
from ..backends.c_sources import c_sources

__all__ = ["add_parser", "run"]

_PACKAGES = ("numpy", "numba", "llvmlite", "numba-cuda", "cffi", "ml-dtypes", "safetensors", "matplotlib")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info",
        help="show backends, processor and versions",
        description="Show the available backends, why others are missing, the processor, its cores, and versions.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    for title, lines in (("fastopt", [__version__]), ("backends", _backends()), ("machine", _machine())):
        print(title)
        print("".join(f"    {line}\n" for line in lines))
    print("versions")
    print("".join(f"    {line}\n" for line in _versions()), end="")
    return 0


def _backends() -> Iterator[str]:
    for name in BACKENDS:
        missing = why_missing(name)
        yield f"{name:<10} {describe_backend(name) if missing is None else missing}"
    try:
        yield f"default    {default_backend()}"
    except ImportError as error:
        yield f"default    none: {error}"
    try:
        yield f"C sources  {c_sources()}"
    except FileNotFoundError as error:
        yield f"C sources  {error}"


def _machine() -> Iterator[str]:
    yield f"processor  {_processor()} ({platform.machine()})"
    yield f"features   {' '.join(_features()) or 'unknown'}"
    yield f"cores      {available_cores()} for this process"
    yield f"system     {platform.system()} {platform.release()}"


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _features() -> list[str]:
    """Return the features of the processor that the kernels can use."""
    found = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [name for name in found if name.startswith(("sse4", "avx", "fma", "asimd", "sve", "neon"))]


def _cpuinfo(key: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")
    except OSError:
        return ""


def _versions() -> Iterator[str]:
    yield f"python     {sys.version.split()[0]}"
    for package in _PACKAGES:
        try:
            yield f"{package:<10} {version(package)}"
        except PackageNotFoundError:
            yield f"{package:<10} not installed"
