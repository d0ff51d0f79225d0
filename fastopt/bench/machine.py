"""The machine of a result: processor, threads, versions, commit. No paths, no names of hosts or people."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..backends import available_cores

__all__ = [
    "available_memory",
    "describe_machine",
    "driver_facts",
    "git_commit",
    "peak_memory",
    "reset_peak_memory",
    "versions",
]


def describe_machine(threads: int) -> dict[str, Any]:
    """Return processor, cores, threads, memory and system."""
    return {
        "cpu": _processor(),
        "architecture": platform.machine(),
        "cores": available_cores(),
        "threads": threads,
        "memory_gb": round(_total_memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def driver_facts() -> dict[str, str]:
    """Return the version of NVIDIA's driver and the GPU's highest clock, as its own program says; none without it."""
    fields = {"driver": "driver_version", "highest_clock": "clocks.max.sm", "power_limit": "power.limit"}
    command = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    first = done.stdout.strip().splitlines()[0]
    return dict(zip(fields, (value.strip() for value in first.split(",")), strict=True))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of fastopt, Python and those of the packages that are installed, without importing them."""
    found = {"fastopt": __version__, "python": sys.version.split()[0]}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, Any] | None:
    """Return the commit, and whether the tree differs from it; None outside a checkout of fastopt."""
    if _git("ls-files", "--error-unmatch", "../__init__.py") is None:
        return None
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return None if commit is None else {"commit": commit, "dirty": bool(status)}


def available_memory() -> int:
    """Return about how many bytes are available."""
    found = _field(Path("/proc/meminfo"), "MemAvailable")
    return _total_memory() // 2 if found is None else found


def reset_peak_memory() -> bool:
    """Reset :func:`peak_memory`; return whether the system lets a process do so (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had at one time."""
    found = _field(Path("/proc/self/status"), "VmHWM")
    if found is not None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _field(file: Path, name: str) -> int | None:
    """Return a number of kilobytes in one of Linux's files, in bytes."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(f"{name}:")]
    return int(found[0][1]) * 1024 if found else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
