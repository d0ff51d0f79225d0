"""Kernels for NVIDIA GPUs, compiled from the rule's own function."""
