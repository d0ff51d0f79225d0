"""The pass in CUDA C around the C source of a rule, compiled by NVRTC; see ``twin.cu``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastopt import Rule

__all__ = ["check", "compile_twin", "rule_source", "twin_name"]

_HERE = Path(__file__).parent

_NAMES = {
    "float32": {"REAL": "float", "FMA": "fmaf", "SQRT": "sqrtf", "ABS": "fabsf", "WIDTH": "4"},
    "float64": {"REAL": "double", "FMA": "fma", "SQRT": "sqrt", "ABS": "fabs", "WIDTH": "2"},
}

_ARITHMETIC = ("--fmad=false", "--ftz=true", "--prec-div=true", "--prec-sqrt=true")
"""The options that fastopt's own kernels are compiled with."""


def twin_name(rule: Rule) -> str:
    """Return the name of the kernel: that of the rule's update, which rules may share."""
    return str(rule.update.__name__)


def rule_source(rule: Rule) -> str:
    """Return the C source of a rule's update, in the macros of ``twin.cu``: ``RULE_2(adam, 6, exp_avg, exp_avg_sq) …``.

    Raises
    ------
    LookupError
        The checkout has no C source for it.
    """
    definition = re.compile(rf"^RULE_\d\({twin_name(rule)},.*?^}}\n", re.DOTALL | re.MULTILINE)
    for file in sorted((_HERE.parent / "csrc" / "rules").glob("*.inc")):
        found = definition.search(file.read_text(encoding="utf-8"))
        if found:
            return found[0]
    raise LookupError(f"csrc/rules has no C source of rule {rule.name}")


def compile_twin(rule: Rule, dtype: str, architecture: str, *, block: int, blocks: int) -> bytes:
    """Return the kernel of a rule: machine code for an architecture like ``sm_90``, PTX for ``compute_90``.

    Raises
    ------
    RuntimeError
        The compiler refuses it; the message is its report.
    """
    from cuda.bindings import nvrtc

    source = (_HERE / "twin.cu").read_text(encoding="utf-8") + rule_source(rule)
    names = {**_NAMES[dtype], "BLOCK": str(block), "BLOCKS": str(blocks)}
    options = [f"--gpu-architecture={architecture}", "--std=c++17", *_ARITHMETIC]
    options += [f"--define-macro={name}={value}" for name, value in names.items()]
    program = check(nvrtc.nvrtcCreateProgram(source.encode(), b"twin.cu", 0, [], []))
    try:
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise RuntimeError(_text(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode())
        if architecture.startswith("compute_"):
            return _text(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
        return _text(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(program: Any, size_of: Any, read: Any) -> bytes:
    text = bytearray(check(size_of(program)))
    check(read(program, text))
    return bytes(text)


def check(answer: Any) -> Any:
    """Return the value that CUDA's driver or compiler returned after its status.

    Raises
    ------
    RuntimeError
        The status is an error.
    """
    error, *values = answer
    if error:
        raise RuntimeError(f"CUDA: {error.name}")
    return values[0] if values else None
