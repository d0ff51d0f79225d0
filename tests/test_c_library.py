"""The C library as a C program meets it: strict C99, C++, return codes, and the bits of the Python package."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import HYPER, draw, needs

from fastopt import RULES, Optimizer
from fastopt.backends import why_missing

CSRC = Path(__file__).parents[1] / "csrc"
CC = shutil.which("cc") or shutil.which("gcc")
CXX = shutil.which("c++") or shutil.which("g++")
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]

in_a_checkout = pytest.mark.skipif(not CSRC.is_dir(), reason="the C sources are not installed with the package")
with_cc = pytest.mark.skipif(CC is None, reason="no C compiler: neither cc nor gcc is on the path")
with_cxx = pytest.mark.skipif(CXX is None, reason="no C++ compiler: neither c++ nor g++ is on the path")

PROGRAM = """\
#include "fastopt.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int main(void)
{{
    {real} p[] = {{{p}}}, g[] = {{{g}}}, m[{n}] = {{0}}, v[{n}] = {{0}};
    {real} *states[] = {{m, v}};
    const {real} coefficients[] = {{{coefficients}}};
    const {real} *results[] = {{p, m, v}};
    const fastopt_rule *adam = fastopt_find_rule("adam");

    if (fastopt_rule_states(adam) != 2 || fastopt_rule_coefficients(adam) != sizeof coefficients / sizeof *coefficients)
        return 1;
    if (fastopt_update_{suffix}(adam, {n}, p, g, states, coefficients, 0, 1, FASTOPT_BEST_LEVEL) != FASTOPT_OK)
        return 2;
    for (int r = 0; r < 3; ++r)
        for (int i = 0; i < {n}; ++i) {{
            uint{width}_t bits;
            memcpy(&bits, &results[r][i], sizeof bits);
            printf("%llx\\n", (unsigned long long)bits);
        }}
    return 0;
}}
"""


def literals(values, dtype):
    """Return the values as hexadecimal literals of C, exactly."""
    suffix = "f" if dtype == "float32" else ""
    return ", ".join(float(value).hex() + suffix for value in np.asarray(values, dtype))


@in_a_checkout
@with_cc
@pytest.mark.skipif(bool(why_missing("numba") and why_missing("c")), reason="no compiled backend to compare with")
@pytest.mark.parametrize(("dtype", "real", "suffix"), [("float32", "float", "f32"), ("float64", "double", "f64")])
def test_a_strict_c99_program_gives_the_same_bits(dtype, real, suffix, tmp_path):
    n, rule, hyper = 37, RULES["adam"], HYPER["adam"]
    p, g = draw(0, n, dtype), draw(1, n, dtype)
    own = rule.at_step(1, hyper)
    source = PROGRAM.format(
        n=n,
        real=real,
        suffix=suffix,
        width=np.dtype(dtype).itemsize * 8,
        p=literals(p, dtype),
        g=literals(g, dtype),
        coefficients=literals([1.0, 1e30, hyper["weight_decay"], 1.0, *own], dtype),
    )
    (tmp_path / "program.c").write_text(source)
    files = [tmp_path / "program.c", CSRC / "fastopt.c"]
    flags = [*STRICT, "-std=c99", "-O2", "-ffp-contract=off", f"-I{CSRC}"]
    subprocess.run([CC, *flags, *files, "-o", tmp_path / "program", "-lm"], check=True)
    printed = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout.split()
    optimizer = Optimizer(p, rule, **hyper)
    optimizer.step(g)
    unsigned = f"uint{np.dtype(dtype).itemsize * 8}"
    expected = np.concatenate([p, *optimizer.state.values()]).view(unsigned)
    assert [int(word, 16) for word in printed] == expected.tolist()


@in_a_checkout
@with_cxx
def test_the_header_is_cpp_too(tmp_path):
    (tmp_path / "program.cpp").write_text('#include "fastopt.h"\nint main() { return fastopt_rule_count() < 1; }\n')
    subprocess.run([CXX, *STRICT, "-fsyntax-only", f"-I{CSRC}", tmp_path / "program.cpp"], check=True)


@in_a_checkout
@with_cc
def test_the_header_stands_alone(tmp_path):
    (tmp_path / "program.c").write_text('#include "fastopt.h"\n#include "fastopt.h"\nint main(void) { return 0; }\n')
    subprocess.run([CC, *STRICT, "-std=c99", "-fsyntax-only", f"-I{CSRC}", tmp_path / "program.c"], check=True)


@needs("c")
def test_every_update_has_a_c_body_and_no_body_is_left_over():
    from fastopt.backends.c import CBackend

    assert sorted(CBackend.rules()) == sorted({rule.update.__name__ for rule in RULES.values()})


@needs("c")
@pytest.mark.parametrize("name", RULES)
def test_a_c_body_takes_the_rule_s_states_and_coefficients(name):
    from fastopt._c import lib

    handle = lib.fastopt_find_rule(RULES[name].update.__name__.encode())
    assert lib.fastopt_rule_states(handle) == len(RULES[name].states)
    assert lib.fastopt_rule_coefficients(handle) == 4 + len(RULES[name].coefficient_names)


@needs("c")
@pytest.mark.parametrize("suffix", ["f32", "f64"])
@pytest.mark.parametrize("n", [3, 40_000])
def test_a_bad_rule_or_level_is_answered_with_a_code_and_nothing_is_touched(suffix, n):
    from fastopt._c import ffi, lib

    dtype = {"f32": "float32", "f64": "float64"}[suffix]
    p, g, coefficients = np.ones(n, dtype), np.ones(n, dtype), np.ones(5, dtype)
    pointers = [ffi.from_buffer({"f32": "float[]", "f64": "double[]"}[suffix], x) for x in (p, g, coefficients)]
    update = getattr(lib, f"fastopt_update_{suffix}")
    sgd = lib.fastopt_find_rule(b"sgd")
    count = lib.fastopt_level_count()

    def code(rule, level):
        return update(rule, n, *pointers[:2], ffi.NULL, pointers[2], 1, 2, level)

    assert code(ffi.NULL, lib.FASTOPT_BEST_LEVEL) == lib.FASTOPT_BAD_RULE
    assert [code(sgd, level) for level in (-2, count, 99)] == [lib.FASTOPT_BAD_LEVEL] * 3
    assert p.all()
    assert g.all()
    assert code(sgd, count - 1) == lib.FASTOPT_OK
    assert not g.any()


@needs("c")
def test_indices_and_names_that_are_not_there_are_null():
    from fastopt._c import ffi, lib

    assert lib.fastopt_find_rule(b"no such rule") == ffi.NULL
    assert [lib.fastopt_rule_at(k) for k in (-1, lib.fastopt_rule_count())] == [ffi.NULL] * 2
    assert [lib.fastopt_level_name(k) for k in (-1, lib.fastopt_level_count())] == [ffi.NULL] * 2
    assert ffi.string(lib.fastopt_level_name(0)) == b"portable"


@needs("c")
def test_an_unknown_level_is_refused():
    from fastopt.backends.c import CBackend

    with pytest.raises(ValueError, match="avx1024"):
        CBackend("avx1024")


@in_a_checkout
def test_the_version_of_the_header_is_that_of_the_package():
    import fastopt

    major, minor, _ = fastopt.__version__.split(".")
    header = (CSRC / "fastopt.h").read_text()
    assert f"#define FASTOPT_VERSION_MAJOR {major}\n" in header
    assert f"#define FASTOPT_VERSION_MINOR {minor}\n" in header
