"""Rules that are not built in, on the C backend: Numba's bits, a cache that processes share, and what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_rules
import pytest
from conftest import DTYPES, bits, contents, draw, needs, needs_compiler

import fastopt
from fastopt import MLP, Optimizer, fma, rule
from fastopt.backends import get_backend, why_missing

pytestmark = [needs("c"), needs_compiler]
LEVELS = [] if why_missing("c") else get_backend("c").levels()


def five_steps(own, backend, dtype, size=5000, threads=1):
    optimizer = Optimizer(
        draw(0, size, dtype), own, backend=backend, threads=threads, weight_decay=0.0625, max_norm=9.0
    )
    for t in range(1, 6):
        optimizer.step(draw(t, size, dtype))
    return contents(optimizer).values()


@needs("numba")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", own_rules.ALL)
def test_numba_and_c_agree(name, dtype):
    own = own_rules.ALL[name]
    assert bits(*five_steps(own, "c", dtype)) == bits(*five_steps(own, "numba", dtype))


@pytest.mark.parametrize("name", ["helpers", "scaled_by_norms"])
def test_vector_widths_and_threads_change_no_bit(name):
    from fastopt.backends.c import CBackend

    expected = bits(*five_steps(own_rules.ALL[name], "c", "float32", 100_003))
    for level in LEVELS:
        for threads in (1, 2, 3):
            results = five_steps(own_rules.ALL[name], CBackend(level), "float32", 100_003, threads)
            assert bits(*results) == expected, f"{level}, {threads} threads"


@needs("numba")
@pytest.mark.parametrize("name", ["literals", "helpers"])
def test_training_gives_the_same_bits(name):
    weights = []
    for backend in ("c", "numba"):
        model = MLP((8, 16, 3), seed=1)
        targets = np.arange(60) % 3
        model.fit(
            draw(0, 480).reshape(60, 8), targets, rule=own_rules.ALL[name], epochs=2, batch_size=16, backend=backend
        )
        weights.append(model.parameters.copy())
    assert bits(weights[0]) == bits(weights[1])


PROGRAM = """\
import sys
from hashlib import sha256

import numpy as np

from fastopt import Optimizer, fma, rule


@rule
def heavy_ball(p, g, velocity, *, lr=0.01, beta=0.9):
    velocity = fma(beta, velocity, 0.3 * g)
    return fma(-lr, velocity, p), velocity


p = np.linspace(0, 1, 1000, dtype="float32")
optimizer = Optimizer(p, heavy_ball, backend="c")
for t in range(3):
    optimizer.step(np.full_like(p, t + 0.5))
print(sha256(p.tobytes()).hexdigest())
"""
INSTALLED = str(Path(fastopt.__file__).parents[1])
COUNTING = '#!/bin/sh\nfor word; do if [ "$word" = -shared ]; then echo >> "$LOG"; fi; done\nexec {cc} "$@"\n'


class Machine:
    """A user's cache, and a C compiler that counts the libraries that it makes; each program is a new process."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.log = folder / "cache", folder / "log"
        (folder / "program.py").write_text(PROGRAM)
        compiler = folder / "compiler of 'mine'"
        compiler.write_text(COUNTING.format(cc=os.environ.get("CC", "cc")))
        compiler.chmod(0o700)
        own = {"XDG_CACHE_HOME": str(self.cache), "CC": f'"{compiler}"', "LOG": str(self.log), "PYTHONPATH": INSTALLED}
        self.environment = os.environ | own
        self.command = [sys.executable, str(folder / "program.py")]

    def start(self, **environment):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command, env=self.environment | environment, **pipes)

    def compiled(self):
        return self.log.read_text().count("\n") if self.log.exists() else 0

    def libraries(self):
        return [path for path in self.cache.rglob("*") if path.is_file()]


def ended(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_second_process_compiles_nothing(machine):
    first = ended(machine.start())
    assert machine.compiled() == 1
    assert len(machine.libraries()) == 1
    assert ended(machine.start()) == first
    assert machine.compiled() == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_library_is_replaced(machine, damage):
    first = ended(machine.start())
    (path,) = machine.libraries()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {"cut": whole[:middle], "changed": whole[:middle] + b"\xff" * 64 + whole[middle + 64 :], "empty": b""}
    path.write_bytes(damaged[damage])
    assert ended(machine.start()) == first
    assert machine.compiled() == 2
    assert [path.read_bytes() for path in machine.libraries()] == [whole]


def test_processes_that_compile_at_the_same_time_end_with_one_library(machine):
    processes = [machine.start() for _ in range(3)]
    assert len({ended(process) for process in processes}) == 1
    assert len(machine.libraries()) == 1


def test_a_cache_that_cannot_be_written_is_done_without(machine):
    machine.cache.write_text("not a folder")
    results = {ended(machine.start()) for _ in range(2)}
    assert len(results) == 1
    assert machine.compiled() == 2
    assert machine.cache.read_text() == "not a folder"


def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(machine):
    ended(machine.start())
    (machine.cache / "fastopt").chmod(0o777)
    ended(machine.start())
    assert machine.compiled() == 2


def test_other_flags_of_the_compiler_are_another_library(machine):
    ended(machine.start())
    ended(machine.start(CC=machine.environment["CC"] + " -O1"))
    assert machine.compiled() == 2
    assert len(machine.libraries()) == 2


def unused_rule():
    @rule
    def heavy(p, g, velocity, *, lr=0.01):
        return p - lr * velocity, velocity + g

    return heavy


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        ("/nonexistent/cc -O2", "CC=/nonexistent/cc -O2 names no program"),
        (None, r"there is no C compiler \(cc, gcc, clang\)"),
    ],
)
def test_without_a_compiler_it_says_what_to_install(compiler, words, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    if compiler is None:
        monkeypatch.delenv("CC", raising=False)
    else:
        monkeypatch.setenv("CC", compiler)
    with pytest.raises(
        ValueError, match=rf"rule heavy is not built in, and {words} .*; install gcc or clang, or use .*numba"
    ):
        Optimizer(np.zeros(2), unused_rule(), backend="c")


def test_a_compiler_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("CC", "cc --no-such-option")
    with pytest.raises(
        ValueError, match=r"rule heavy does not compile for the c backend: .*cc --no-such-option: .*error"
    ):
        Optimizer(np.zeros(2), unused_rule(), backend="c")


def test_a_library_that_cannot_be_loaded_is_an_error(monkeypatch, tmp_path):
    compiler = tmp_path / "cc"
    monkeypatch.chdir(tmp_path)
    compiler.write_text("#!/bin/sh\necho no library > user.so\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(ValueError, match=r"rule heavy cannot be compiled for the c backend: .*user\.so"):
        Optimizer(np.zeros(2), unused_rule(), backend="c")


def test_more_states_than_c_has_room_for_are_refused():
    states = [f"s{k}" for k in range(17)]
    space = {"fma": fma}
    exec(f"def wide(p, g, {', '.join(states)}, *, lr=0.1):\n    return (p, {', '.join(states)})", space)
    with pytest.raises(ValueError, match=r"rule wide: got 17 states, expected at most 16"):
        Optimizer(np.zeros(2), rule(space["wide"]), backend="c")
