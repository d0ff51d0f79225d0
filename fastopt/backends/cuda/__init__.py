"""Kernels for NVIDIA GPUs, compiled from the rule's own function."""

from .backend import CudaBackend

__all__ = ["CudaBackend"]
