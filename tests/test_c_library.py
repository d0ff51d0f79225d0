"""The C library as a C program meets it: two files, strict C99, C++, return codes, and the bits of the package."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import HYPER, draw, needs

import fastopt
from fastopt import RULES, Optimizer
from fastopt.backends import why_missing
from fastopt.backends.c_sources import c_sources
from fastopt.cli import main
from fastopt.rules import PRELUDE_NUMBERS
from fastopt.translate import built_in_sweeps

CC = shutil.which("cc") or shutil.which("gcc")
CXX = shutil.which("c++") or shutil.which("g++")
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
SWEEPS = built_in_sweeps()

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
    void *states[] = {{m, v}};
    const {real} numbers[] = {{{numbers}}};
    const {real} *results[] = {{p, m, v}};
    const fastopt_rule *adam = fastopt_find_rule("adam");

    if (fastopt_rule_states(adam) != 2 || fastopt_rule_numbers(adam) != sizeof numbers / sizeof *numbers)
        return 1;
    const fastopt_pass pass = {{
        .rule = adam, .size = {n}, .p = p, .g = g, .states = states, .numbers = numbers, .storage = {storage}}};
    if (fastopt_run(&pass, 0, 1, FASTOPT_BEST_LEVEL) != FASTOPT_OK)
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


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The object file of the library, compiled once from the folder that the package names."""
    folder = tmp_path_factory.mktemp("library")
    flags = [*STRICT, "-std=c99", "-O0", "-fno-math-errno", "-ffp-contract=off"]
    subprocess.run([CC, *flags, "-c", c_sources() / "fastopt.c", "-o", folder / "fastopt.o"], check=True)
    return folder / "fastopt.o"


@with_cc
@pytest.mark.skipif(bool(why_missing("numba") and why_missing("c")), reason="no compiled backend to compare with")
@pytest.mark.parametrize(
    ("dtype", "real", "storage"), [("float32", "float", "FASTOPT_FLOAT32"), ("float64", "double", "FASTOPT_FLOAT64")]
)
def test_a_strict_c99_program_gives_the_same_bits(dtype, real, storage, tmp_path, library):
    n, rule, hyper = 37, RULES["adam"], HYPER["adam"]
    p, g = draw(0, n, dtype), draw(1, n, dtype)
    own = rule.coefficients_at(1, hyper)
    source = PROGRAM.format(
        n=n,
        real=real,
        storage=storage,
        width=np.dtype(dtype).itemsize * 8,
        p=literals(p, dtype),
        g=literals(g, dtype),
        numbers=literals([1.0, 1e30, hyper["weight_decay"], 1.0, *(own[x] for x in rule.stages[0].numbers)], dtype),
    )
    (tmp_path / "program.c").write_text(source)
    flags = [*STRICT, "-std=c99", f"-I{c_sources()}"]
    subprocess.run([CC, *flags, tmp_path / "program.c", library, "-o", tmp_path / "program", "-lm"], check=True)
    printed = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout.split()
    optimizer = Optimizer(p, rule, **hyper)
    optimizer.step(g)
    unsigned = f"uint{np.dtype(dtype).itemsize * 8}"
    expected = np.concatenate([p, *optimizer.state.values()]).view(unsigned)
    assert [int(word, 16) for word in printed] == expected.tolist()


@with_cxx
def test_the_header_is_cpp_too(tmp_path):
    (tmp_path / "program.cpp").write_text('#include "fastopt.h"\nint main() { return fastopt_rule_count() < 1; }\n')
    subprocess.run([CXX, *STRICT, "-fsyntax-only", f"-I{c_sources()}", tmp_path / "program.cpp"], check=True)


@with_cc
def test_the_header_needs_no_other(tmp_path):
    (tmp_path / "program.c").write_text('#include "fastopt.h"\n#include "fastopt.h"\nint main(void) { return 0; }\n')
    subprocess.run([CC, *STRICT, "-std=c99", "-fsyntax-only", f"-I{c_sources()}", tmp_path / "program.c"], check=True)


@needs("c")
def test_every_sweep_has_a_c_body_and_no_body_is_left_over():
    from fastopt.backends.c import CBackend

    assert sorted(CBackend.rules()) == sorted(SWEEPS)


@needs("c")
@pytest.mark.parametrize("name", SWEEPS)
def test_a_c_body_takes_the_sweep_s_states_and_numbers(name):
    from fastopt._c import lib

    handle = lib.fastopt_find_rule(name.encode())
    assert lib.fastopt_rule_states(handle) == len(SWEEPS[name].states)
    assert lib.fastopt_rule_numbers(handle) == len(PRELUDE_NUMBERS) + len(SWEEPS[name].numbers)
    assert lib.fastopt_rule_sums(handle) == len(SWEEPS[name].sums)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_header_lists_states_and_numbers_in_order(name):
    header = (c_sources() / "fastopt.h").read_text()
    (entry,) = re.findall(rf"^ \*   {name}, of [pg and]+\n((?: \*     .*\n)*)", header, re.MULTILINE)
    listed = {words[1]: " ".join(words[2:]) for words in map(str.split, entry.splitlines())}
    lists = {"states": SWEEPS[name].states, "numbers": SWEEPS[name].numbers, "sums": SWEEPS[name].sums}
    assert listed == {kind: ", ".join(names) for kind, names in lists.items() if names}


@needs("c")
@pytest.mark.parametrize("storage", [0, 1])
@pytest.mark.parametrize("n", [3, 40_000])
def test_a_bad_rule_level_or_storage_is_answered_with_a_code_and_nothing_is_touched(storage, n):
    from fastopt._c import ffi, lib

    dtype = ("float32", "float64")[storage]
    p, g, numbers = np.ones(n, dtype), np.ones(n, dtype), np.ones(5, dtype)
    pointers = {name: ffi.from_buffer(x) for name, x in (("p", p), ("g", g), ("numbers", numbers))}
    sgd = lib.fastopt_find_rule(b"sgd")
    count = lib.fastopt_level_count()

    def code(rule, level, storage=storage):
        what = ffi.new("fastopt_pass *", {"rule": rule, "size": n, "storage": storage, **pointers})
        return lib.fastopt_run(what, 1, 2, level)

    assert code(ffi.NULL, lib.FASTOPT_BEST_LEVEL) == lib.FASTOPT_BAD_RULE
    assert [code(sgd, level) for level in (-2, count, 99)] == [lib.FASTOPT_BAD_LEVEL] * 3
    assert [code(sgd, 0, storage=kind) for kind in (-1, 5)] == [lib.FASTOPT_BAD_STORAGE] * 2
    assert p.all()
    assert g.all()
    assert code(lib.fastopt_find_rule(b"measure_gradient"), 0) == lib.FASTOPT_BAD_SUMS
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


def test_info_says_where_the_files_are(capsys):
    assert main(["info"]) == 0
    assert f"C sources  {c_sources()}\n" in capsys.readouterr().out


def test_the_version_of_the_header_is_that_of_the_package():
    major, minor, _ = fastopt.__version__.split(".")
    header = (c_sources() / "fastopt.h").read_text()
    assert f"#define FASTOPT_VERSION_MAJOR {major}\n" in header
    assert f"#define FASTOPT_VERSION_MINOR {minor}\n" in header


def test_the_two_files_include_nothing_else_of_fastopt():
    texts = ((c_sources() / name).read_text() for name in ("fastopt.c", "fastopt.h"))
    assert [set(re.findall(r'#include "(.*)"', text)) for text in texts] == [{"fastopt.h"}, set()]
