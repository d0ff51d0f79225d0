"""Kernels compiled without a GPU, and what their PTX and machine code hold; as a script, the table of registers."""

import math
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

from fastopt._bfloat16 import BFLOAT16, arithmetic_dtype
from fastopt.backends.functions import substituted
from fastopt.backends.plan import Evaluate, Plan
from fastopt.rules import RULES, Sweep, vocabulary, with_limits

ARCHITECTURES = ((8, 0), (9, 0))
DTYPES = ("float32", "bfloat16", "float64")
MOST_REGISTERS = {"float32": 64, "bfloat16": 64, "float64": 80}
MOST_REGISTERS_OF_MANY_BUFFERS = {"float32": 80, "bfloat16": 80, "float64": 128}
TABLE = Path(__file__).parent.parent / "bench" / "results" / "cuda-registers.md"

SWEEPS = {
    stage.name: stage for rule in RULES.values() for stage in with_limits(rule).stages if isinstance(stage, Sweep)
}
PLAIN = {name: sweep for name, sweep in SWEEPS.items() if not sweep.sums}
WITH_SUMS = {name: sweep for name, sweep in SWEEPS.items() if sweep.sums}
WITH_NUMBERS = [name for name, rule in RULES.items() if rule.numbers]


def dtype_of(name):
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


@cache
def pass_ptx(name, dtype, architecture, elements=None):
    """Return the PTX of a sweep without sums."""
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature

    sweep, dtype = PLAIN[name], dtype_of(dtype)
    return cuda.compile_ptx(pass_function(sweep, dtype, elements), pass_signature(sweep, dtype), cc=architecture)[0]


def assembled_pass(name, dtype, architecture, elements=None):
    """Return registers and bytes of memory of the sweep's kernel, as it is launched."""
    from fastopt.backends.cuda.launch import elements_a_thread, launch_bounds

    real = arithmetic_dtype(dtype_of(dtype))
    threads, blocks = launch_bounds(
        dtype_of(dtype), real, elements or elements_a_thread(real), len(PLAIN[name].buffers)
    )
    bounds = f".maxntid {threads}, 1, 1\n.minnctapersm {blocks}\n"
    return assembled(pass_ptx(name, dtype, architecture, elements), architecture, bounds)


@cache
def sums_ptx(name, dtype, architecture):
    """Return the PTX of a sweep with sums."""
    from numba import cuda

    from fastopt.backends.cuda.reductions import sums_function, sums_signature

    sweep, dtype = WITH_SUMS[name], dtype_of(dtype)
    return cuda.compile_ptx(sums_function(sweep, dtype), sums_signature(sweep, dtype), cc=architecture)[0]


@cache
def add_ptx(architecture):
    """Return the PTX of what adds the chunks of sums."""
    from numba import cuda

    from fastopt.backends.cuda.reductions import add_function, add_signature

    return cuda.compile_ptx(add_function, add_signature(), cc=architecture)[0]


def moments_of(name):
    """Return the instructions of a rule with limited norms, of two segments, for each moment that has some."""
    rule = with_limits(RULES[name])
    return [moment for moment in Plan((rule,), [tuple(rule.coefficients_at(1))], [(0, 5), (0, 3)]).moments if moment]


@cache
def moment_ptx(name, moment, dtype, architecture):
    """Return the PTX of what computes the numbers of a moment."""
    from numba import cuda

    from fastopt.backends.cuda.numbers import moment_function, moment_signature

    function, dtype = moment_function(moments_of(name)[moment], np.dtype(dtype)), np.dtype(dtype)
    return cuda.compile_ptx(function, moment_signature(dtype), cc=architecture)[0]


def instructions(ptx):
    """Return how often each instruction is there, with all of its suffixes."""
    return Counter(re.findall(r"^\s+(?:@!?%\w+\s+)?([a-z][\w.]*)\s", ptx, re.MULTILINE))


def assembled(ptx, architecture, bounds=""):
    """Return registers of a thread, and bytes of spills and stack, as the assembler counts them.

    The launch bounds limit registers; a compilation without a GPU leaves them out, and so they are put in here.
    """
    ptx = re.sub(r"(\.entry [^)]*\)\n)", rf"\1{bounds}", ptx)
    from cuda.bindings import nvjitlink

    handle = nvjitlink.create(2, [f"-arch=sm_{architecture[0]}{architecture[1]}", "-verbose"])
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, ptx.encode(), len(ptx), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    text = log.decode()
    stack, stores, loads = map(
        int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text).groups()
    )
    return int(re.search(r"Used (\d+) registers", text)[1]), stack + stores + loads


class Traced:
    """A number that notes what is done with it."""

    def __init__(self, counts):
        self.counts = counts

    def did(self, operation, *_):
        self.counts[operation] += 1
        return Traced(self.counts)

    def __add__(self, other):
        return self.did("add")

    def __sub__(self, other):
        return self.did("sub")

    def __mul__(self, other):
        return self.did("mul")

    def __truediv__(self, other):
        return self.did("div")

    def __neg__(self):
        return self

    __abs__ = __neg__
    __radd__, __rsub__, __rmul__, __rtruediv__ = __add__, __sub__, __mul__, __truediv__

    def __gt__(self, other):
        return False

    __lt__ = __gt__


OPERATIONS = ("add", "sub", "mul", "fma", "div", "sqrt")


def traced(function, count, *keywords, fused=True):
    """Return what a scalar function of so many arguments does, and what it returns."""
    counts = Counter()

    def fma(a, b, c):
        return c.did("fma") if fused else a * b + c

    own = substituted(function, {vocabulary.fma: fma, math.sqrt: lambda x: x.did("sqrt")})
    results = own(*[Traced(counts) for _ in range(count)], **{name: Traced(counts) for name in keywords})
    return counts, results


def operations(sweep):
    """Return how many of each operation an element takes: the sweep's own, and those of the prelude.

    That multiplies the gradient by its scale and the parameter by its decay, and adds the parameter's L2 decay.
    """
    counts, _ = traced(sweep.update, len(sweep.buffers), *sweep.numbers)
    has_p, has_g = (sweep.has_prelude and buffer in sweep.buffers for buffer in ("p", "g"))
    counts.update(mul=has_p + has_g, fma=has_p and has_g)
    return {operation: counts[operation] for operation in OPERATIONS}


def operations_of_sums(sweep):
    """Return how many fused operations and how many additions the terms of an element take in float64."""
    _, results = traced(sweep.update, len(sweep.buffers), *sweep.numbers)
    results = results if isinstance(results[0], (Traced, tuple)) and isinstance(results, tuple) else (results,)
    terms = (results,) if not sweep.writes and len(sweep.sums) == 1 else results[len(sweep.writes) :]
    plain = sum(1.0 in term for term in terms)
    return len(terms) - plain, plain


def operations_of_moment(name, moment):
    """Return how many of each operation the numbers of a moment take; a multiply-add counts as two."""
    total = Counter()
    for instruction in moments_of(name)[moment]:
        if isinstance(instruction, Evaluate):
            counts, _ = traced(instruction.number.function, len(instruction.arguments), fused=False)
            total.update(counts)
    return {operation: total[operation] for operation in OPERATIONS}


def table():
    """Return the registers of every kernel as Markdown."""
    from importlib.metadata import version

    heads = [f"{dtype}, sm_{major}{minor}" for dtype in DTYPES for major, minor in ARCHITECTURES]
    columns = [(dtype, architecture) for dtype in DTYPES for architecture in ARCHITECTURES]
    rows = [(name, [assembled_pass(name, d, a) for d, a in columns]) for name in PLAIN]
    rows += [(name, [assembled(sums_ptx(name, d, a), a) for d, a in columns]) for name in WITH_SUMS]
    lines = [
        "# Registers of the CUDA kernels",
        "",
        "Registers a thread, and bytes of spills and stack after them where there are any, as nvJitLink's assembler",
        f"counts them (`-verbose`). numba-cuda {version('numba-cuda')}, libNVVM {version('nvidia-nvvm')}, nvJitLink "
        f"{version('nvidia-nvjitlink')}.",
        "No GPU took part. Written by `python tests/cuda_ptx.py`.",
        "",
        f"| sweep | {' | '.join(heads)} |",
        "|---|" + "--:|" * len(heads),
    ]
    for name, cells in rows:
        texts = [f"{registers}" + (f" + {spilled} bytes" if spilled else "") for registers, spilled in cells]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
