"""How many threads a pass runs on.

OpenMP's threads do not survive a fork: a child that used them would hang or be aborted. A forked child runs on one.
"""

from __future__ import annotations

import os

__all__ = ["available_cores", "is_forked_child"]

_parent = os.getpid()


def available_cores() -> int:
    """Return the number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_forked_child() -> bool:
    """Return whether this process was forked from the one that imported fastopt."""
    return os.getpid() != _parent
