"""Builds ``fastopt._c`` with cffi: the public header is the declaration, and nothing is declared twice.

The passes are generated first, from the rules' Python functions.
"""

import re
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fastopt.translate import built_in_sweeps, constants_source, passes_source, table_source  # noqa: E402

GENERATED = HERE / "generated"
COMPILE_ARGS = ["-O3", "-std=gnu99", "-fno-math-errno", "-ffp-contract=off"]
"""No contraction: the bits are those of the rule as it is written. No errno: ``sqrtf`` becomes an instruction."""


def declarations(header: str) -> str:
    """Return what cffi reads of a header: no preprocessor lines but simple constants, no C++."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    kept = [line for line in header.splitlines() if not line.startswith("#") or re.match(r"#define \w+ -?\d+$", line)]
    return "\n".join(kept)


def generate() -> None:
    """Write what C takes from Python."""
    sweeps = built_in_sweeps().values()
    GENERATED.mkdir(exist_ok=True)
    functions, passes = passes_source(sweeps)
    texts = {"constants": constants_source(), "functions": functions, "passes": passes, "rules": table_source(sweeps)}
    for name, text in texts.items():
        (GENERATED / f"{name}.inc").write_text(text, encoding="utf-8")


generate()
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
