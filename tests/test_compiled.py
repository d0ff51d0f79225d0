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
from conftest import DTYPES, draw, needs, plain

from fastopt import RULES, Optimizer
from fastopt.backends import source
from fastopt.translate import built_in_sweeps

pytestmark = needs("numba")

SWEEPS = built_in_sweeps()

on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86-64 instructions")
PACKED = {"fma": r"\bvfn?m(add|sub)\d{3}ps\b", "/": r"\bv?divps\b", "sqrt": r"\bv?sqrtps\b"}
FLOAT64 = r"\bv?(?:mul|add|sub|div|sqrt)[sp]d\b|\bvfn?m(?:add|sub)\d{3}[sp]d\b|\bv?cvt(?:s[sd]2s[sd]|p[sd]2p[sd])\b"


def operations(sweep):
    """Return which of the operations in PACKED the source has; a sweep over p and g has the prelude's multiply-add."""
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(sweep.update)))))
    divides = any(isinstance(node, ast.Div) for node in nodes)
    takes_roots = any(isinstance(node, ast.Name) and node.id == "sqrt" for node in nodes)
    calls_fma = any(isinstance(node, ast.Name) and node.id == "fma" for node in nodes)
    has_prelude = sweep.has_prelude and {"p", "g"} <= set(sweep.buffers)
    return (
        ({"fma"} if calls_fma or has_prelude else set())
        | ({"/"} if divides else set())
        | ({"sqrt"} if takes_roots else set())
    )


@cache
def assembly(name):
    """Return the instructions of the float32 pass; compiled here, since what comes from the cache has none."""
    from numba.core.ccallback import CFunc

    from fastopt.backends.numba.rule import compiled_pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CFunc, "enable_caching", lambda function: None)
        function = compiled_pass.__wrapped__(SWEEPS[name], plain("float32"))
    return function._library.get_asm_str()


@on_x86
@pytest.mark.parametrize("name", SWEEPS)
def test_a_float32_loop_is_packed(name):
    for operation in operations(SWEEPS[name]):
        assert re.search(PACKED[operation], assembly(name)), f"no packed {operation}"


@on_x86
@pytest.mark.parametrize("name", [name for name, sweep in SWEEPS.items() if not sweep.sums])
def test_a_float32_loop_has_no_float64(name):
    assert re.findall(FLOAT64, assembly(name)) == []


@on_x86
@pytest.mark.parametrize("name", [name for name, sweep in SWEEPS.items() if sweep.sums])
def test_sums_of_a_float32_loop_are_packed_float64(name):
    assert re.search(r"\bvfmadd\d{3}pd\b", assembly(name))
    assert re.search(r"\bvcvtps2pd\b", assembly(name))


@on_x86
def test_the_patterns_find_what_they_look_for():
    assert {"adam": {"fma", "/", "sqrt"}, "scaled_clip": {"fma", "/"}, "sgd": {"fma"}} == {
        name: operations(SWEEPS[name]) for name in ("adam", "scaled_clip", "sgd")
    }
    assert all(re.search(FLOAT64, line) for line in ("vmulsd %xmm0", "divpd", "vcvtss2sd", "cvtps2pd", "vfmadd213pd"))
    assert not any(re.search(FLOAT64, line) for line in ("vmulss %xmm0", "vdivps", "vfmadd213ps", "vmovsd", "cvtsi2sd"))


@on_x86
@pytest.mark.parametrize("name", SWEEPS)
def test_each_buffer_is_fetched_ahead(name):
    assert len(re.findall(r"\bprefetcht0\b", assembly(name))) >= len(SWEEPS[name].buffers)


def test_a_second_step_and_a_second_optimizer_compile_nothing():
    from fastopt.backends.numba.launch import _run_alone, _run_together
    from fastopt.backends.numba.rule import compiled_pass

    rule = RULES["rmsprop"]
    seen = []
    for _ in range(2):
        for dtype in DTYPES:
            for zero_grad in (False, True):
                optimizer = Optimizer(draw(0, 40_000, dtype), rule, backend="numba", threads=2, zero_grad=zero_grad)
                optimizer.step(draw(1, 40_000, dtype))
                optimizer.step(draw(2, 40_001, dtype, 3)[1:], grad_scale=2)
        seen.append(
            (
                [compiled_pass(rule.stages[0], plain(dtype)).address for dtype in DTYPES],
                compiled_pass.cache_info().misses,
            )
        )
    assert seen[0] == seen[1]
    assert all(len(launch.signatures) <= 1 for launch in (_run_alone, _run_together))


def test_the_name_changes_with_what_the_code_comes_from():
    names = {source.unique_name(SWEEPS["sgd"], compiler) for compiler in ("one", "another", "one")}
    assert len(names) == 2


def name_of_pass(name, dtype="float32", **changed):
    """Return the name that a rule's pass would be compiled under if these of its module were others."""
    from fastopt.backends.numba import rule as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "part", lambda function, *signature: function.__name__)
        for which, value in changed.items():
            patch.setattr(module, which, value)
        return module.compiled_pass.__wrapped__(SWEEPS[name], plain(dtype))


def test_the_name_of_a_pass_changes_with_its_rule_dtype_loop_and_helpers():
    from fastopt.backends.numba.rule import _LOOP

    names = {
        name_of_pass("sgd"),
        name_of_pass("adam"),
        name_of_pass("sgd", "float64"),
        name_of_pass("sgd", _LOOP=_LOOP + "    # another one\n"),
        name_of_pass("sgd", digest_of=lambda *modules: "of other sources"),
    }
    assert len(names) == 5
    assert name_of_pass("sgd") in names


def test_the_helpers_of_a_pass_are_all_in_its_digest():
    from fastopt.backends.numba import rule as module

    asked, spaces = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "part", lambda function, *signature: spaces.append(function.__globals__))
        patch.setattr(module, "digest_of", lambda *modules: asked.extend(modules) or "")
        module.compiled_pass.__wrapped__(SWEEPS["sgd"], plain("float32"))
    helpers = [value for name, value in spaces[0].items() if name in vars(module) and hasattr(value, "__module__")]
    assert helpers
    assert {module.__name__, *(helper.__module__ for helper in helpers)} <= set(asked)


def test_the_engine_s_parts_and_every_launch_carry_a_digest_in_their_names():
    from fastopt.backends.numba import engine, launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_work", engine._work.__wrapped__)
        patch.setattr(engine, "part", lambda function, *signature, digest: f"{function.__name__}_{digest}")
        names = [*engine.parts.__wrapped__(np.dtype("float32")).values()]
    for kernel in (engine._alone, engine._together, launch._run_alone, launch._run_together):
        names.append(kernel.py_func.__name__)
        assert kernel.py_func.__qualname__ == names[-1]  # Numba's cache goes by this one
    assert len(set(names)) == 8
    assert all(re.fullmatch(r"[a-z_]+_[0-9a-f]{12}", name) for name in names)


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
from fastopt.backends.numba.rule import compiled_pass
from fastopt.backends import storage_of

Optimizer(np.zeros(40_000), mine, backend="numba", threads=2).step(np.ones(40_000))
print(compiled_pass(mine.stages[0], storage_of(np.dtype("float64"), None, "nearest")).cache_hits)
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
    hits = [
        json.loads(subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True).stdout)
        for _ in range(2)
    ]
    assert hits == [0, 1]
