"""The CUDA backend on machines without a GPU: PTX that is compiled and looked at, and kernels in the simulator."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import cuda_ptx
import numpy as np
import pytest
from conftest import DTYPES

from fastopt import RULES, Optimizer, fma, rule
from fastopt.backends import get_backend, why_missing

INSTALLED = importlib.util.find_spec("numba_cuda") is not None

needs_compiler = pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed: pip install 'fastopt[cuda]'")
each_architecture = pytest.mark.parametrize("architecture", cuda_ptx.ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_rule = pytest.mark.parametrize("name", RULES)


def width(dtype):
    return 16 // np.dtype(dtype).itemsize


@needs_compiler
@each_architecture
@each_dtype
@each_rule
def test_a_vector_of_each_buffer_is_loaded_and_stored_in_one_piece(name, dtype, architecture):
    counts = cuda_ptx.instructions(cuda_ptx.pass_ptx(name, dtype, architecture))
    vector, states = f"v{width(dtype)}.f{8 * np.dtype(dtype).itemsize}", len(RULES[name].states)
    loads = sum(count for name, count in counts.items() if re.fullmatch(rf"ld\.global(\.nc)?\.{vector}", name))
    assert loads == 2 + states
    # the last is the cleared gradient's, whose zeros may be of any type
    stores = sum(count for name, count in counts.items() if re.fullmatch(r"st\.global\.v\d\.\w+", name))
    assert stores == 1 + states + 1
    assert counts[f"st.global.{vector}"] >= 1 + states


@needs_compiler
@each_architecture
@each_dtype
@each_rule
def test_arithmetic_is_the_rule_s_own(name, dtype, architecture):
    """So many operations as the rule has for each element of the vector and for one alone; each rounded once."""
    counts = cuda_ptx.instructions(cuda_ptx.pass_ptx(name, dtype, architecture))
    kind, flush = f".f{8 * np.dtype(dtype).itemsize}", ".ftz" if dtype == "float32" else ""
    found = {
        operation: counts[f"{operation}.rn{flush}{kind}"] for operation in ("add", "sub", "mul", "fma", "div", "sqrt")
    }
    assert found == {name: count * (width(dtype) + 1) for name, count in cuda_ptx.operations(RULES[name]).items()}
    arithmetic = r"(add|sub|mul|fma|mad|div|sqrt|rcp|rsqrt|ex2|lg2)\b.*\.f(16|32|64)"
    assert sum(count for name, count in counts.items() if re.match(arithmetic, name)) == sum(found.values())


@needs_compiler
@each_architecture
@each_rule
def test_float32_kernels_have_no_float64(name, architecture):
    assert ".f64" not in cuda_ptx.pass_ptx(name, "float32", architecture)


@needs_compiler
@each_architecture
@each_dtype
@each_rule
def test_everything_stays_in_registers(name, dtype, architecture):
    ptx = cuda_ptx.pass_ptx(name, dtype, architecture)
    assert ".local" not in ptx
    assert "call" not in {instruction.partition(".")[0] for instruction in cuda_ptx.instructions(ptx)}
    registers, spilled = cuda_ptx.assembled_pass(name, dtype, architecture)
    assert registers <= cuda_ptx.MOST_REGISTERS[dtype]
    assert spilled == 0


@needs_compiler
@each_architecture
@each_dtype
def test_squares_are_added_in_float64_by_fused_operations(dtype, architecture):
    ptx = cuda_ptx.sum_ptx(dtype, architecture)
    counts = cuda_ptx.instructions(ptx)
    assert counts["fma.rn.f64"] > 0
    assert not [name for name in counts if re.match(r"mul\b.*\.f", name)]
    assert not [name for name in counts if ".ftz" in name]
    assert ".local" not in ptx
    registers, spilled = cuda_ptx.assembled(ptx, architecture)
    assert (registers <= cuda_ptx.MOST_REGISTERS[dtype], spilled) == (True, 0)


@needs_compiler
def test_a_product_that_is_added_stays_two_operations_in_a_user_s_rule():
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature

    @rule
    def unfused(p, g, s, *, lr=0.1, beta=0.9):
        s = beta * s + g
        return fma(-lr, s, p), s

    dtype = np.dtype("float32")
    ptx, _ = cuda.compile_ptx(pass_function(unfused, dtype), pass_signature(unfused, dtype), cc=(9, 0))
    counts = cuda_ptx.instructions(ptx)
    assert counts["add.rn.ftz.f32"] == 5
    assert counts["fma.rn.ftz.f32"] == 2 * 5


@needs_compiler
def test_a_rule_that_promotes_does_not_compile():
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature
    from fastopt.backends.cuda.shim import TYPING_ERRORS

    @rule
    def halves(p, g, *, lr=0.1):
        return p - lr * (0.5 * g)

    dtype = np.dtype("float32")
    with pytest.raises(TYPING_ERRORS, match="it computes in float64 on float32 buffers"):
        cuda.compile_ptx(pass_function(halves, dtype), pass_signature(halves, dtype), cc=(9, 0))


@needs_compiler
def test_the_table_of_registers_names_every_rule():
    if not cuda_ptx.TABLE.exists():
        pytest.skip("the tests lie outside the source tree, without its results")
    text = cuda_ptx.TABLE.read_text(encoding="utf-8")
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][1:-1] == [
        f"| {n}" for n in RULES
    ]


@needs_compiler
def test_kernels_in_the_simulator():
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(here / "cuda_simulation.py")]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(why_missing("cuda") is None, reason="there is a GPU here")
def test_asking_for_it_without_a_gpu_is_one_clear_sentence():
    reason = "no NVIDIA GPU with a working driver was found" if INSTALLED else "No module named .*"
    expected = rf"the cuda backend is missing: {reason}; it needs an NVIDIA GPU with its driver, and pip install '.*'"
    with pytest.raises(ImportError, match=expected) as caught:
        get_backend("cuda")
    assert "\n" not in str(caught.value)
    with pytest.raises(ImportError, match=expected):
        Optimizer(np.zeros(2), "sgd", backend="cuda")


@needs_compiler
def test_the_cpu_s_backends_do_not_import_it():
    statements = (
        "import numpy, sys, fastopt; fastopt.Optimizer(numpy.zeros(2)).step(numpy.ones(2)); print(*sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", statements], env=environment, check=True, capture_output=True, text=True
    )
    assert not {name for name in done.stdout.split() if name.startswith(("numba.cuda", "numba_cuda", "cuda."))}
