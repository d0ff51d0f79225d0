"""Kernels compiled without a GPU, and what their PTX and machine code hold; as a script, the table of registers."""

import math
import re
from collections import Counter
from functools import cache
from pathlib import Path
from types import FunctionType

import numpy as np

from fastopt._bfloat16 import BFLOAT16, state_dtype
from fastopt.backends.protocol import coefficient_count
from fastopt.backends.source import buffer_names, element_source, positional
from fastopt.rules import RULES, vocabulary

ARCHITECTURES = ((8, 0), (9, 0))
DTYPES = ("float32", "bfloat16", "float64")
MOST_REGISTERS = {"float32": 64, "bfloat16": 64, "float64": 80}
TABLE = Path(__file__).parent.parent / "bench" / "results" / "cuda-registers.md"


def dtype_of(name):
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


@cache
def pass_ptx(name, dtype, architecture, elements=None):
    from numba import cuda

    from fastopt.backends.cuda.rule import pass_function, pass_signature

    rule, dtype = RULES[name], dtype_of(dtype)
    return cuda.compile_ptx(pass_function(rule, dtype, elements), pass_signature(rule, dtype), cc=architecture)[0]


def assembled_pass(name, dtype, architecture, elements=None):
    """Return registers and bytes of memory of the rule's kernel, as it is launched."""
    from fastopt.backends.cuda.launch import elements_a_thread, launch_bounds

    real = state_dtype(dtype_of(dtype))
    threads, blocks = launch_bounds(dtype_of(dtype), real, elements or elements_a_thread(real))
    bounds = f".maxntid {threads}, 1, 1\n.minnctapersm {blocks}\n"
    return assembled(pass_ptx(name, dtype, architecture, elements), architecture, bounds)


@cache
def sum_ptx(dtype, architecture):
    from numba import cuda

    from fastopt.backends.cuda.reductions import sum_function, sum_signature

    return cuda.compile_ptx(sum_function, sum_signature(dtype_of(dtype)), cc=architecture)[0]


@cache
def limit_ptx(dtype, architecture):
    from numba import cuda

    from fastopt.backends.cuda.limits import limit_function, limit_signature

    return cuda.compile_ptx(limit_function, limit_signature(np.dtype(dtype)), cc=architecture)[0]


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

    def did(self, operation):
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
        return self.did("neg")

    def __abs__(self):
        return self.did("abs")

    def __gt__(self, other):
        return False

    __lt__ = __gt__


def operations(rule):
    """Return how many of each operation the update of one element takes, scaling and decay included."""
    counts = Counter()
    meanings = {vocabulary.fma: lambda a, b, c: a.did("fma"), math.sqrt: lambda x: x.did("sqrt")}
    update = positional(rule.update)
    names = {key: meanings.get(value, value) if callable(value) else value for key, value in update.__globals__.items()}
    space = {
        "rule": FunctionType(update.__code__, names, update.__name__, None, update.__closure__),
        "fma": meanings[vocabulary.fma],
        "clip": vocabulary.clip,
        "same_dtype": lambda result, buffer: result,
    }
    exec(element_source(rule, "element"), space)
    buffers = [[Traced(counts)] for _ in buffer_names(rule)]
    space["element"](*buffers, 0, [Traced(counts) for _ in range(coefficient_count(rule))])
    return {operation: counts[operation] for operation in ("add", "sub", "mul", "fma", "div", "sqrt")}


def table():
    """Return the registers of every kernel as Markdown."""
    from importlib.metadata import version

    heads = [f"{dtype}, sm_{major}{minor}" for dtype in DTYPES for major, minor in ARCHITECTURES]
    rows = [(name, [assembled_pass(name, d, a) for d in DTYPES for a in ARCHITECTURES]) for name in RULES]
    rows.append(("(sum of squares)", [assembled(sum_ptx(d, a), a) for d in DTYPES for a in ARCHITECTURES]))
    coefficients = [(state_dtype(dtype_of(d)).name, a) for d in DTYPES for a in ARCHITECTURES]
    rows.append(("(limit of norms)", [assembled(limit_ptx(d, a), a) for d, a in coefficients]))
    lines = [
        "# Registers of the CUDA kernels",
        "",
        "Registers a thread, and bytes of spills and stack behind them where there are any, as nvJitLink's assembler",
        f"counts them (`-verbose`). numba-cuda {version('numba-cuda')}, libNVVM {version('nvidia-nvvm')}, nvJitLink "
        f"{version('nvidia-nvjitlink')}.",
        "No GPU took part. Written by `python tests/cuda_ptx.py`.",
        "",
        f"| rule | {' | '.join(heads)} |",
        "|---|" + "--:|" * len(heads),
    ]
    for name, cells in rows:
        texts = [f"{registers}" + (f" + {spilled} bytes" if spilled else "") for registers, spilled in cells]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
