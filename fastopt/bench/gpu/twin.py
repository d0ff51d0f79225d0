"""The kernels in CUDA C: the C library's bodies of the rules in a loop for GPUs, compiled by NVRTC; see ``twin.cu``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["compile_twins", "twin_bodies", "twin_name"]

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "rules", _HERE.parents[2] / "csrc" / "rules")
"""Where an installed package has the bodies, and where a checkout has them."""

_NAMES = {
    "float32": {"REAL": "float", "FMA": "fmaf", "SQRT": "sqrtf", "ABS": "fabsf", "WIDTH": "4"},
    "float64": {"REAL": "double", "FMA": "fma", "SQRT": "sqrt", "ABS": "fabs", "WIDTH": "2"},
}

_ARITHMETIC = ("--fmad=false", "--ftz=true", "--prec-div=true", "--prec-sqrt=true")
"""As fastopt's own kernels are compiled."""


def twin_name(rule: Any) -> str:
    """Return the kernel's name: that of the update, which rules may share."""
    name: str = rule.update.__name__
    return name


def twin_bodies() -> list[Path]:
    """Return the files of the rules' bodies.

    Raises
    ------
    FileNotFoundError
        This installation has none.
    """
    for folder in _FOLDERS:
        files = sorted(folder.glob("*.inc"))
        if files:
            return files
    raise FileNotFoundError("the C bodies of the rules are not in this installation; install fastopt again")


def compile_twins(dtype: str, architecture: str, *, block: int, blocks: int) -> bytes:
    """Return the kernels of all rules: machine code for an architecture like ``sm_90``, PTX for ``compute_90``.

    Raises
    ------
    RuntimeError
        The compiler refuses them; the message is its report.
    """
    from cuda.bindings import nvrtc

    source = "\n".join(file.read_text(encoding="utf-8") for file in (_HERE / "twin.cu", *twin_bodies()))
    names = {**_NAMES[dtype], "BLOCK": str(block), "BLOCKS": str(blocks)}
    options = [f"--gpu-architecture={architecture}", "--std=c++17", *_ARITHMETIC]
    options += [f"--define-macro={name}={value}" for name, value in names.items()]
    error, program = nvrtc.nvrtcCreateProgram(source.encode(), b"twin.cu", 0, [], [])
    _check(error)
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
    error, size = size_of(program)
    _check(error)
    text = bytearray(size)
    (error,) = read(program, text)
    _check(error)
    return bytes(text)


def _check(error: Any) -> None:
    if error:
        raise RuntimeError(f"NVRTC: {error.name}")
