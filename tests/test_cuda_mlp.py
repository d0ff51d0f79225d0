"""Training on a GPU, on machines without one: kernels that are compiled and looked at, trainings in the simulator."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import cuda_ptx
import numpy as np
import pytest
from conftest import DTYPES
from test_cuda import each_architecture, needs_compiler

from fastopt import MLP, elements
from fastopt.backends import why_missing

OF_LABELS = " of labels"
LOSSES = tuple(f"{name}{OF_LABELS}" for name in elements.LOSSES if name != "binary_cross_entropy")
LOSSES += tuple(name for name in elements.LOSSES if name != "softmax_cross_entropy")

IN_ONE_DTYPE = ("gather", "column sums", *(f"activate {name}" for name in elements.ACTIVATIONS))
IN_ONE_DTYPE += tuple(f"derive {name}" for name in elements.ACTIVATIONS if name != "identity")
IN_FLOAT64_TOO = ("close", *LOSSES)
"""Losses are summed in float64, as on the CPU."""

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kernel = pytest.mark.parametrize("name", [*IN_ONE_DTYPE, *IN_FLOAT64_TOO])

ARITHMETIC = re.compile(r"(add|sub|mul|fma|div|rcp)\.rn(\.ftz)?\.f(32|64)")


def kernel(name, dtype):
    """Return function, signature and threads of a block."""
    from fastopt.backends.cuda import activations, gather, losses, sums

    dtype = np.dtype(dtype)
    if name == "gather":
        return gather.gather_function, gather.gather_signature(dtype), gather.BLOCK
    if name == "column sums":
        return sums.column_function(dtype), sums.column_signature(dtype), sums.COLUMN_BLOCK
    if name == "close":
        return sums.close_function, sums.close_signature(dtype), sums.LANES
    if name in LOSSES:
        loss, labels = elements.LOSSES[name.removesuffix(OF_LABELS)], name.endswith(OF_LABELS)
        return losses.loss_function(dtype, loss, labels), losses.loss_signature(dtype, labels), losses.BLOCK
    kind, _, activation = name.partition(" ")
    activation = elements.ACTIVATIONS[activation]
    if kind == "activate":
        function = activations.activate_function(dtype, activation)
        return function, activations.activate_signature(dtype), activations.BLOCK
    return activations.derive_function(dtype, activation, 0.25), activations.derive_signature(dtype), activations.BLOCK


@cache
def ptx(name, dtype, architecture):
    from numba import cuda

    function, signature, _ = kernel(name, dtype)
    return cuda.compile_ptx(function, signature, cc=architecture)[0]


def arithmetic(name, dtype, architecture):
    """Return how often each operation on numbers of the dtype is there."""
    counts = cuda_ptx.instructions(ptx(name, dtype, architecture))
    kind = f".f{8 * np.dtype(dtype).itemsize}"
    return {key: count for key, count in counts.items() if ARITHMETIC.fullmatch(key) and key.endswith(kind)}


@needs_compiler
@each_architecture
@each_dtype
@each_kernel
def test_everything_stays_in_registers(name, dtype, architecture):
    text = ptx(name, dtype, architecture)
    assert ".local" not in text
    assert "call" not in {instruction.partition(".")[0] for instruction in cuda_ptx.instructions(text)}
    threads = kernel(name, dtype)[2]
    registers, spilled = cuda_ptx.assembled(text, architecture, f".maxntid {threads}, 1, 1\n")
    assert (registers <= cuda_ptx.MOST_REGISTERS[dtype], spilled) == (True, 0)


@needs_compiler
@each_architecture
@pytest.mark.parametrize("name", IN_ONE_DTYPE)
def test_float32_kernels_have_no_float64(name, architecture):
    assert ".f64" not in ptx(name, "float32", architecture)


@needs_compiler
@each_architecture
@each_dtype
@pytest.mark.parametrize("name", [*IN_ONE_DTYPE, *LOSSES])
def test_arithmetic_is_rounded_as_the_cpu_s(name, dtype, architecture):
    """No approximate instruction, but for logarithms in float64; denormal float32 numbers are zeros."""
    counts = cuda_ptx.instructions(ptx(name, dtype, architecture))
    approximate = [key for key in counts if re.match(r"(ex2|lg2|tanh|rsqrt|(rcp|div)\.(full|approx))\b", key)]
    assert not [key for key in approximate if name in IN_ONE_DTYPE or not key.endswith(".f64")]
    if dtype == "float32":
        assert not [key for key in arithmetic(name, dtype, architecture) if ".ftz" not in key]


@needs_compiler
@each_architecture
def test_exponentials_are_the_polynomial_alone(architecture):
    """Nine fused operations: one for x/ln 2, two for what is left, five of the series, one for its sum."""
    counts = arithmetic("activate sigmoid", "float32", architecture)
    assert counts == {"fma.rn.ftz.f32": 9, "mul.rn.ftz.f32": 1, "add.rn.ftz.f32": 4, "rcp.rn.ftz.f32": 1}


@pytest.mark.skipif(why_missing("cuda") is None, reason="there is a GPU here")
def test_without_a_gpu_training_on_it_is_one_clear_sentence():
    model = MLP((2, 2))
    for train in (model.make_optimizer, lambda **how: model.fit(np.eye(2), [0, 1], progress=False, **how)):
        with pytest.raises(ImportError, match=r"the cuda backend is missing: .*; it needs an NVIDIA GPU") as caught:
            train(backend="cuda")
        assert "\n" not in str(caught.value)


def cublas_is_installed():
    try:
        return importlib.util.find_spec("nvidia.cu13") is not None and bool(
            list(Path(importlib.util.find_spec("nvidia.cu13").submodule_search_locations[0]).glob("*/*cublas*"))
        )
    except ModuleNotFoundError:
        return False


@needs_compiler
@pytest.mark.skipif(not cublas_is_installed(), reason="cuBLAS is not installed: pip install 'fastopt[cuda]'")
def test_cublas_is_found_and_has_the_functions():
    import ctypes

    from fastopt.backends.cuda.products import library

    cublas, number = library(), ctypes.c_int()
    assert cublas.cublasGetProperty(0, ctypes.byref(number)) == 0
    assert number.value >= 13


@needs_compiler
def test_without_cublas_the_error_says_what_to_install(monkeypatch):
    from cuda import pathfinder

    from fastopt.backends.cuda.products import library

    def find(name):
        raise pathfinder.DynamicLibNotFoundError(f"{name}: nowhere")

    monkeypatch.setattr(pathfinder, "load_nvidia_dynamic_lib", find)
    with pytest.raises(ImportError, match=r"multiplies by cuBLAS, which was not found: pip install 'fastopt\[cuda\]'"):
        library()
