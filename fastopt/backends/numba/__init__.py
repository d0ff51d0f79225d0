"""Kernels and training steps compiled by Numba from the rule's own function."""

from __future__ import annotations

from .backend import NumbaBackend

__all__ = ["NumbaBackend"]
