"""The CUDA backend on machines without a GPU: PTX that is compiled and looked at, and kernels in the simulator."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from collections import Counter

import cuda_ptx
import numpy as np
import pytest
from bfloat16 import critical, rounded
from cuda_ptx import DTYPES, PLAIN, WITH_NUMBERS, WITH_SUMS

from fastopt import Optimizer, fma, rule
from fastopt._bfloat16 import arithmetic_dtype
from fastopt.backends import get_backend, why_missing

INSTALLED = importlib.util.find_spec("numba_cuda") is not None

needs_compiler = pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed: pip install 'fastopt[cuda]'")
each_architecture = pytest.mark.parametrize("architecture", cuda_ptx.ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_sweep = pytest.mark.parametrize("name", PLAIN)
each_sweep_with_sums = pytest.mark.parametrize("name", WITH_SUMS)


def computed(dtype):
    """Return what a kernel over buffers of that dtype computes in, and has states of."""
    return arithmetic_dtype(cuda_ptx.dtype_of(dtype)).name


def width(dtype):
    return 16 // np.dtype(computed(dtype)).itemsize


@needs_compiler
@each_architecture
@each_dtype
@each_sweep
def test_a_vector_of_each_buffer_is_loaded_and_stored_in_one_piece(name, dtype, architecture):
    counts = cuda_ptx.instructions(cuda_ptx.pass_ptx(name, dtype, architecture))
    sweep = PLAIN[name]
    loaded, stored = ([buffer in ("p", "g") for buffer in names] for names in (sweep.buffers, sweep.writes))
    clears = "g" in sweep.buffers
    vector = rf"v{width(dtype)}\.f{8 * np.dtype(computed(dtype)).itemsize}"
    # two words hold four elements of bfloat16
    own = r"v2\.[bu]32" if dtype == "bfloat16" else vector

    def count(pattern):
        return sum(count for name, count in counts.items() if re.fullmatch(pattern, name))

    if own == vector:
        assert count(rf"ld\.global(\.nc)?\.{vector}") == len(loaded)
    else:
        assert count(rf"ld\.global(\.nc)?\.{own}") == sum(loaded)
        assert count(rf"ld\.global(\.nc)?\.{vector}") == len(loaded) - sum(loaded)
    # the last is the cleared gradient's, whose zeros may be of any type
    assert count(r"st\.global\.v\d\.\w+") == len(stored) + clears
    assert count(rf"st\.global\.{own}") >= (len(stored) if own == vector else sum(stored))
    assert count(rf"st\.global\.{vector}") >= len(stored) - sum(stored)


@needs_compiler
@each_architecture
@pytest.mark.parametrize(
    ("dtype", "elements", "pieces"),
    [
        ("float32", 1, r"4 ld\.global\.f32"),
        ("float32", 2, r"4 ld\.global\.v2\.f32"),
        ("float32", 8, r"8 ld\.global\.v4\.f32"),
        ("float64", 1, r"4 ld\.global\.f64"),
        ("float64", 4, r"8 ld\.global\.v2\.f64"),
        ("float64", 8, r"16 ld\.global\.v2\.f64"),
        ("bfloat16", 2, r"2 ld\.global\.u32"),
        ("bfloat16", 8, r"2 ld\.global\.v4\.u32"),
    ],
)
def test_other_numbers_of_elements_move_in_pieces_of_up_to_16_bytes(dtype, elements, pieces, architecture):
    """Adam's: p, g and two states, besides a single element and ten numbers."""
    ptx = cuda_ptx.pass_ptx("adam", dtype, architecture, elements)
    counts, (count, pattern) = cuda_ptx.instructions(ptx), pieces.split()
    alone = 14 if elements == 1 else 0
    assert sum(n for name, n in counts.items() if re.fullmatch(pattern, name)) == int(count) + alone
    assert ".local" not in ptx
    assert cuda_ptx.assembled_pass("adam", dtype, architecture, elements)[1] == 0


@needs_compiler
@each_architecture
@each_dtype
@each_sweep
def test_arithmetic_is_the_sweep_s_own(name, dtype, architecture):
    """So many operations as the sweep has for each element of the vector and for a single one; each rounded once."""
    counts = cuda_ptx.instructions(cuda_ptx.pass_ptx(name, dtype, architecture))
    kind, flush = f".f{8 * np.dtype(computed(dtype)).itemsize}", ".ftz" if computed(dtype) == "float32" else ""
    found = {
        operation: counts[f"{operation}.rn{flush}{kind}"] for operation in ("add", "sub", "mul", "fma", "div", "sqrt")
    }
    assert found == {name: count * (width(dtype) + 1) for name, count in cuda_ptx.operations(PLAIN[name]).items()}
    arithmetic = r"(add|sub|mul|fma|mad|div|sqrt|rcp|rsqrt|ex2|lg2)\b.*\.f(16|32|64)"
    assert sum(count for name, count in counts.items() if re.match(arithmetic, name)) == sum(found.values())


@needs_compiler
@each_architecture
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@each_sweep
def test_kernels_that_compute_in_float32_have_no_float64(name, dtype, architecture):
    assert ".f64" not in cuda_ptx.pass_ptx(name, dtype, architecture)


@needs_compiler
@each_architecture
@each_sweep
def test_bfloat16_is_converted_by_integers_alone(name, architecture):
    """Hardware has instructions for it since sm_90, and the compiler for older ones has sequences of its own."""
    counts = cuda_ptx.instructions(cuda_ptx.pass_ptx(name, "bfloat16", architecture))
    assert not [name for name in counts if "bf16" in name or re.match(r"cvt.*\.f(16|32|64)", name)]


@needs_compiler
@each_architecture
@each_dtype
@each_sweep
def test_everything_stays_in_registers(name, dtype, architecture):
    ptx = cuda_ptx.pass_ptx(name, dtype, architecture)
    assert ".local" not in ptx
    assert "call" not in {instruction.partition(".")[0] for instruction in cuda_ptx.instructions(ptx)}
    registers, spilled = cuda_ptx.assembled_pass(name, dtype, architecture)
    many = len(PLAIN[name].buffers) > 5
    most = cuda_ptx.MOST_REGISTERS_OF_MANY_BUFFERS if many else cuda_ptx.MOST_REGISTERS
    assert registers <= most[dtype]
    assert spilled == 0


@needs_compiler
@each_architecture
@each_dtype
@each_sweep_with_sums
def test_sums_are_added_in_float64_and_the_rest_is_the_sweep_s_own(name, dtype, architecture):
    """The compiler may repeat the loop's body; six additions for each sum make one of its 64 lanes."""
    ptx, sweep = cuda_ptx.sums_ptx(name, dtype, architecture), WITH_SUMS[name]
    counts, expected = cuda_ptx.instructions(ptx), Counter(cuda_ptx.operations(sweep))
    fused, added = cuda_ptx.operations_of_sums(sweep)
    found = Counter({operation: counts[f"{operation}.rn.f64"] for operation in cuda_ptx.OPERATIONS})
    found["add"] -= 6 * len(sweep.sums)
    if computed(dtype) == "float64":
        expected.update(fma=fused, add=added)
        times = found["fma"] // expected["fma"]
    else:
        times = found["fma"] // fused
        assert found == Counter({"fma": fused * times, "add": added * times})
        found = Counter({operation: counts[f"{operation}.rn.ftz.f32"] for operation in cuda_ptx.OPERATIONS})
    assert times >= 1
    assert found == Counter({operation: count * times for operation, count in expected.items()})
    arithmetic = r"(mad|rcp|rsqrt|ex2|lg2)\b.*\.f(16|32|64)"
    assert not [instruction for instruction in counts if re.match(arithmetic, instruction)]
    assert_in_registers(ptx, dtype, architecture)


def assert_in_registers(ptx, dtype, architecture):
    assert ".local" not in ptx
    assert "call" not in {instruction.partition(".")[0] for instruction in cuda_ptx.instructions(ptx)}
    registers, spilled = cuda_ptx.assembled(ptx, architecture)
    assert (registers <= cuda_ptx.MOST_REGISTERS[dtype], spilled) == (True, 0)


@needs_compiler
@each_architecture
def test_chunks_are_only_added(architecture):
    ptx = cuda_ptx.add_ptx(architecture)
    counts = cuda_ptx.instructions(ptx)
    assert not [name for name in counts if re.match(r"(sub|mul|fma|mad|div|sqrt)\b.*\.f", name)]
    assert_in_registers(ptx, "float64", architecture)


@needs_compiler
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_numbers_are_computed_by_the_operations_of_the_host(name):
    """Each rounded once, nothing fused; 1/x may be an instruction of its own, and totals are further additions."""
    for moment in range(len(cuda_ptx.moments_of(name))):
        ptx = cuda_ptx.moment_ptx(name, moment, "float32", (9, 0))
        counts, expected = cuda_ptx.instructions(ptx), cuda_ptx.operations_of_moment(name, moment)
        found = {operation: counts[f"{operation}.rn.f64"] for operation in cuda_ptx.OPERATIONS}
        found["div"] += counts["rcp.rn.f64"]
        assert found.pop("add") >= expected.pop("add")
        assert found == expected
        assert not [instruction for instruction in counts if re.match(r"(fma|mad|rsqrt)\b.*\.f", instruction)]
        assert_in_registers(ptx, "float64", (9, 0))


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_products_of_matrices_round_each_operation_once(dtype):
    from numba import cuda

    from fastopt.backends.cuda.matrices import functions

    for name, (function, kinds) in functions(np.dtype(dtype)).items():
        ptx, _ = cuda.compile_ptx(function, kinds, cc=(9, 0))
        counts, kind = cuda_ptx.instructions(ptx), f".f{8 * np.dtype(dtype).itemsize}"
        found = {operation: counts[f"{operation}{kind}"] for operation in ("add", "mul")}
        assert found == {"add": int(name == "add"), "mul": int(name in ("scale", "scale_by"))}
        assert not [instruction for instruction in counts if re.match(r"(fma|mad)\b.*\.f", instruction)]
        assert_in_registers(ptx, "float32", (9, 0))


@needs_compiler
def test_a_product_that_is_added_stays_two_operations_in_a_user_s_rule():
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature

    @rule
    def unfused(p, g, s, *, lr=0.1, beta=0.9):
        s = beta * s + g
        return fma(-lr, s, p), s

    dtype = np.dtype("float32")
    sweep = unfused.stages[0]
    ptx, _ = cuda.compile_ptx(pass_function(sweep, dtype), pass_signature(sweep, dtype), cc=(9, 0))
    counts = cuda_ptx.instructions(ptx)
    assert counts["add.rn.ftz.f32"] == 5
    assert counts["fma.rn.ftz.f32"] == 2 * 5


@needs_compiler
def test_number_literals_have_the_dtype_of_the_buffers():
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature

    @rule
    def halves(p, g, *, lr=0.1):
        return p - lr * (0.5 * math.sqrt(g))

    dtype, sweep = np.dtype("float32"), halves.stages[0]
    ptx, _ = cuda.compile_ptx(pass_function(sweep, dtype), pass_signature(sweep, dtype), cc=(9, 0))
    assert ".f64" not in ptx


@needs_compiler
def test_a_rule_that_promotes_does_not_compile():
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature
    from fastopt.backends.cuda.shim import TYPING_ERRORS

    @rule
    def promotes(p, g, *, lr=0.1):
        return p - lr * np.float64(g)

    dtype, sweep = np.dtype("float32"), promotes.stages[0]
    with pytest.raises(TYPING_ERRORS, match="it computes in float64 on float32 buffers"):
        cuda.compile_ptx(pass_function(sweep, dtype), pass_signature(sweep, dtype), cc=(9, 0))


@needs_compiler
def test_the_table_of_registers_names_sweeps_that_exist():
    if not cuda_ptx.TABLE.exists():
        pytest.skip("the tests lie outside the source tree, without its results")
    lines = cuda_ptx.TABLE.read_text(encoding="utf-8").splitlines()
    named = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")][1:]
    assert len(named) > 20
    assert set(named) <= {*PLAIN, *WITH_SUMS}


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


@needs_compiler
def test_conversions_of_bfloat16_are_right_for_every_bit_that_decides():
    """The very instructions that kernels get, compiled for this processor."""
    import ctypes

    from llvmlite import binding, ir

    from fastopt.backends.cuda import bfloat16 as emit

    word, half = ir.IntType(32), ir.IntType(16)
    module = ir.Module()

    def function(name, result, *arguments):
        made = ir.Function(module, ir.FunctionType(result, arguments), name)
        return ir.IRBuilder(made.append_basic_block()), made.args

    builder, (bits,) = function("round_one", half, word)
    builder.ret(emit.rounded_one(builder, builder.bitcast(bits, ir.FloatType())))
    builder, (low, high) = function("round_pair", word, word, word)
    builder.ret(emit.pairs(builder, [builder.bitcast(x, ir.FloatType()) for x in (low, high)])[0])
    builder, (bits,) = function("widen_one", word, half)
    builder.ret(builder.bitcast(emit.widened_one(builder, bits), word))
    for k in (0, 1):
        builder, (pair,) = function(f"widen_{k}", word, word)
        words = builder.insert_element(ir.Constant(ir.VectorType(word, 1), ir.Undefined), pair, word(0))
        builder.ret(builder.bitcast(emit.widened(builder, words, word(k)), word))

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()

    def compiled(name, result, *arguments):
        return ctypes.CFUNCTYPE(result, *arguments)(engine.get_function_address(name))

    c_word, c_half = ctypes.c_uint32, ctypes.c_uint16
    values = critical()
    expected, patterns = rounded(values).tolist(), values.view(np.uint32).tolist()
    round_one, round_pair = compiled("round_one", c_half, c_word), compiled("round_pair", c_word, c_word, c_word)
    assert [round_one(pattern) for pattern in patterns] == expected
    pairs = zip(patterns[::2], patterns[1::2], strict=True)
    assert [round_pair(*pair) for pair in pairs] == [
        low | high << 16 for low, high in zip(expected[::2], expected[1::2], strict=True)
    ]
    halves = range(1 << 16)
    wide = [half << 16 for half in halves]
    widen_one, widen_0, widen_1 = (
        compiled("widen_one", c_word, c_half),
        compiled("widen_0", c_word, c_word),
        compiled("widen_1", c_word, c_word),
    )
    assert [widen_one(half) for half in halves] == wide
    assert [widen_0(half | 0xABCD0000) for half in halves] == wide
    assert [widen_1(half << 16 | 0xABCD) for half in halves] == wide
