"""What Numba made of the rules: packed instructions, no float64 in a float32 loop, nothing compiled twice."""

import ast
import inspect
import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from functools import cache

import numpy as np
import pytest
from conftest import DTYPES, draw, needs

from fastopt import RULES, Optimizer
from fastopt.backends import get_backend, source

pytestmark = needs("numba")

on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86-64 instructions")
PACKED = {"fma": r"\bvfn?m(add|sub)\d{3}ps\b", "/": r"\bv?divps\b", "sqrt": r"\bv?sqrtps\b"}
FLOAT64 = r"\bv?(?:mul|add|sub|div|sqrt)[sp]d\b|\bvfn?m(?:add|sub)\d{3}[sp]d\b|\bv?cvt(?:s[sd]2s[sd]|p[sd]2p[sd])\b"


def operations(rule):
    """Return which of the operations in PACKED the rule's source has; the multiply-add of the loop is always there."""
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(rule.update)))))
    divides = any(isinstance(node, ast.Div) for node in nodes)
    takes_roots = any(isinstance(node, ast.Name) and node.id == "sqrt" for node in nodes)
    return {"fma"} | ({"/"} if divides else set()) | ({"sqrt"} if takes_roots else set())


@cache
def assembly(name):
    """Return the serial float32 loop's instructions; compiled here, since what comes from the cache has none."""
    from numba.core.dispatcher import Dispatcher

    from fastopt.backends.numba import NumbaBackend

    backend = NumbaBackend()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "enable_caching", lambda dispatcher: None)
        backend.kernel(RULES[name], np.dtype("float32"), 1)
    serial, _ = backend._dispatchers[RULES[name].update]
    (text,) = serial.inspect_asm().values()
    return text


@on_x86
@pytest.mark.parametrize("name", RULES)
def test_a_float32_loop_is_packed(name):
    for operation in operations(RULES[name]):
        assert re.search(PACKED[operation], assembly(name)), f"no packed {operation}"


@on_x86
@pytest.mark.parametrize("name", RULES)
def test_a_float32_loop_has_no_float64(name):
    assert re.findall(FLOAT64, assembly(name)) == []


@on_x86
def test_the_patterns_find_what_they_look_for():
    assert {"adam": {"fma", "/", "sqrt"}, "scaled_clip": {"fma", "/"}, "sgd": {"fma"}} == {
        name: operations(RULES[name]) for name in ("adam", "scaled_clip", "sgd")
    }
    assert all(re.search(FLOAT64, line) for line in ("vmulsd %xmm0", "divpd", "vcvtss2sd", "cvtps2pd", "vfmadd213pd"))
    assert not any(re.search(FLOAT64, line) for line in ("vmulss %xmm0", "vdivps", "vfmadd213ps", "vmovsd", "cvtsi2sd"))


def test_a_second_step_and_a_second_optimizer_compile_nothing():
    rule = RULES["rmsprop"]
    for dtype in DTYPES:
        for zero_grad in (False, True):
            optimizer = Optimizer(draw(0, 40_000, dtype), rule, backend="numba", threads=2, zero_grad=zero_grad)
            optimizer.step(draw(1, 40_000, dtype))
            optimizer.step(draw(2, 40_001, dtype, 3)[1:], grad_scale=2)
    serial, parallel = get_backend("numba")._dispatchers[rule.update]
    assert sorted(str(signature[0].dtype) for signature in serial.signatures) == sorted(DTYPES)
    assert len(parallel.signatures) <= len(DTYPES)


def test_the_prefix_changes_with_the_loop(monkeypatch):
    before, _ = source.serial_and_parallel_source(RULES["sgd"], "one compiler")
    assert before == source.serial_and_parallel_source(RULES["sgd"], "one compiler")[0]
    monkeypatch.setattr(source, "_TEMPLATE", source._TEMPLATE + "# another\n")
    assert source.serial_and_parallel_source(RULES["sgd"], "one compiler")[0] != before


def test_the_prefix_changes_with_the_compiler():
    prefixes = {source.serial_and_parallel_source(RULES["sgd"], compiler)[0] for compiler in ("one", "another")}
    assert len(prefixes) == 2


BUILT_IN = "from fastopt import RULES\nmine = RULES['adagrad']\n"
OWN = """\
from fastopt import fma, rule

@rule
def mine(p, g, *, lr=0.5):
    "p −= ηg"
    return fma(-lr, g, p)
"""
COUNT = """\
import json
import numpy as np
from fastopt import Optimizer
from fastopt.backends import get_backend

Optimizer(np.zeros(40_000), mine, backend="numba", threads=2).step(np.ones(40_000))
stats = [d.stats for d in get_backend("numba")._dispatchers[mine.update] if d.signatures]
print(json.dumps([[sum(s.cache_hits.values()), sum(s.cache_misses.values())] for s in stats]))
"""


@pytest.mark.parametrize("where", ["built in", "own module", "own script"])
def test_a_second_process_compiles_nothing(where, tmp_path):
    rule = BUILT_IN if where == "built in" else OWN
    script = tmp_path / "script.py"
    if where == "own module":
        (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
        rule = "from mine import mine\n"
    script.write_text(rule + COUNT, encoding="utf-8")
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    first, second = (
        json.loads(subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True).stdout)
        for _ in range(2)
    )
    assert all(hits == 0 and misses == 1 for hits, misses in first)
    assert all(hits == 1 and misses == 0 for hits, misses in second)
    assert len(first) == len(second) >= 1
