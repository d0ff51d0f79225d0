"""Builds ``fastopt._c`` with cffi: the public header is the declaration, and nothing is declared twice."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
COMPILE_ARGS = ["-O3", "-std=gnu99", "-fno-math-errno", "-ffp-contract=off"]
"""No contraction: the bits are those of the rule as it is written. No errno: ``sqrtf`` becomes an instruction."""


def declarations(header: str) -> str:
    """Return what cffi reads of a header: no preprocessor lines but simple constants, no C++."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    kept = [line for line in header.splitlines() if not line.startswith("#") or re.match(r"#define \w+ -?\d+$", line)]
    return "\n".join(kept)


ffi = FFI()
ffi.cdef(declarations((HERE / "fastopt.h").read_text()))
ffi.set_source(
    "fastopt._c",
    '#include "fastopt.h"',
    sources=["csrc/fastopt.c"],
    include_dirs=["csrc"],
    extra_compile_args=COMPILE_ARGS,
    libraries=["m"],
    optional=True,
)
