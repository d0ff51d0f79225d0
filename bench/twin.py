"""The pass in CUDA C around the C source of a rule, compiled by NVRTC; see ``twin.cu``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastopt import Rule
from fastopt.rules import PRELUDE_NUMBERS, RULES, Sweep, prelude
from fastopt.translate import Functions

__all__ = ["TWINS", "check", "compile_twin", "rule_source", "twin_name"]

_HERE = Path(__file__).parent

_NAMES = {
    "float32": {"REAL": "float", "FMA": "fmaf", "SQRT": "sqrtf", "ABS": "fabsf", "WIDTH": "4"},
    "float64": {"REAL": "double", "FMA": "fma", "SQRT": "sqrt", "ABS": "fabs", "WIDTH": "2"},
}

_ARITHMETIC = ("--fmad=false", "--ftz=true", "--prec-div=true", "--prec-sqrt=true")
"""The options that fastopt's own kernels are compiled with."""


TWINS = tuple(name for name, rule in RULES.items() if rule.is_local and len(rule.states) <= 3)
"""The rules that have a twin: one sweep without sums, and as many states as the kernel has arguments for."""

_RULE = """
struct {name}_update {{
    enum {{ STATES = {states}, COUNT = {count} }};
    INLINE void update(REAL *p, REAL g, REAL *s, const REAL *c)
    {{
        {scaled_of}
        {function}({arguments});
    }}
}};
KERNEL({name})
"""


def twin_name(rule: Rule) -> str:
    """Return the name of the kernel: that of the rule's sweep, which rules may share."""
    return rule.stages[0].name


def rule_source(rule: Rule) -> str:
    """Return the source of a local rule and of the prelude, translated from their functions, for ``twin.cu``.

    Raises
    ------
    LookupError
        It is none of `TWINS`.
    """
    sweep = rule.stages[0]
    if rule.name not in TWINS or not isinstance(sweep, Sweep):
        raise LookupError(f"rule {rule.name} has no twin in CUDA C; these have one: {', '.join(TWINS)}")
    functions, first = Functions(), len(PRELUDE_NUMBERS)
    scaled, decayed = functions.add(prelude.scaled), functions.add(prelude.decayed, ("p", "g"))
    function = functions.add(sweep.update, sweep.writes)
    states = [f"s[{k}]" for k in range(len(sweep.states))]
    numbers = [f"c[{first + k}]" for k in range(len(sweep.numbers))]
    results = ["p", *(f"&{state}" for state in states)]
    names = {name: f"NAMED({name})" for name in (scaled, decayed, function)}
    return "\n".join(functions.text) + _RULE.format(
        name=sweep.name,
        states=len(states),
        count=first + len(numbers),
        scaled_of=f"g = {names[scaled]}(g, c[GRAD_SCALE], c[CLIP_VALUE]);\n        "
        f"{names[decayed]}(*p, g, c[WEIGHT_DECAY], c[DECAY_FACTOR], p, &g);",
        function=names[function],
        arguments=", ".join(("*p", "g", *states, *numbers, *results)),
    )


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
