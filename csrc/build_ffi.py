"""Builds ``fastopt._c`` with cffi: the public header is the declaration, and nothing is declared twice.

What C takes from the rules' Python functions is generated first, and with it the files in ``generated/c``, which the
package carries: ``fastopt.c`` and ``fastopt.h`` for programs in C, and the source of user-defined rules' libraries.
"""

import re
import shutil
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fastopt.elements import ACTIVATIONS, LOSSES  # noqa: E402
from fastopt.translate import (  # noqa: E402
    COMPILE_ARGS,
    TEMPLATES,
    built_in_schedules,
    built_in_sweeps,
    constants_source,
    elements_source,
    elements_table,
    expanded,
    listing_source,
    numbers_source,
    passes_source,
    table_source,
)

GENERATED = HERE / "generated"


def declarations(header: str) -> str:
    """Return what cffi reads of a header: no preprocessor lines but simple constants, no C++."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    kept = [
        line for line in header.splitlines() if not line.startswith("#") or re.match(r"#define \w+ -?\d+\s*$", line)
    ]
    return "\n".join(kept)


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write the files of a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def generate() -> None:
    """Write what C takes from Python, then the files that the package carries; nothing older stays."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    sweeps, elements = built_in_sweeps().values(), (ACTIVATIONS.values(), LOSSES.values())
    functions, passes = passes_source(sweeps)
    own = {
        "constants.inc": constants_source(),
        "elements.inc": elements_table(*elements),
        "elements_float32.inc": elements_source(*elements, "float32"),
        "elements_float64.inc": elements_source(*elements, "float64"),
        "functions.inc": functions,
        "listing.inc": listing_source(sweeps),
        "numbers.inc": numbers_source(built_in_schedules()),
        "passes.inc": passes,
        "rules.inc": table_source(sweeps),
    }
    write(GENERATED, own)
    carried = {
        "fastopt.c": expanded(HERE / "fastopt.c", {"fastopt.h"}),
        "fastopt.h": expanded(HERE / "fastopt.h"),
        **{name: expanded(HERE / name, filled_in) for name, filled_in in TEMPLATES.items()},
    }
    write(GENERATED / "c", carried)


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
