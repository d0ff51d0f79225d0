"""A digest of the sources that machine code comes from: in a function's name, it makes the cache miss a change."""

from __future__ import annotations

import inspect
from functools import cache
from hashlib import sha256
from importlib import import_module

__all__ = ["digest_of"]


@cache
def digest_of(*modules: str) -> str:
    """Return the digest of the modules of that name, all of them imported by whoever asks."""
    return sha256("".join(inspect.getsource(import_module(name)) for name in modules).encode()).hexdigest()
