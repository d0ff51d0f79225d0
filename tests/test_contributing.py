"""CONTRIBUTING's example of a rule, followed in a copy of the tree: it passes the tests of every backend."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs

import fastopt

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "CONTRIBUTING.md"
MOST_FILES, MOST_LINES = 2, 40

pytestmark = [
    pytest.mark.skipif(not GUIDE.exists(), reason="the tests lie outside the source tree, without CONTRIBUTING.md"),
]


def additions():
    """Return file to text, as the guide's numbered steps have them."""
    step = re.compile(r"^\d\. \*\*`(.+?)`\*\*.*?```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    return {
        file: re.sub(r"^   ", "", text, flags=re.MULTILINE) for file, text in step.findall(GUIDE.read_text("utf-8"))
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the tree with what the guide adds."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("fastopt", "tests", "bench", "csrc"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for library in Path(fastopt.__file__).parent.glob("_c.*"):  # where the package is installed, the tree has none
        shutil.copy(library, copy / "fastopt")
    for file, text in additions().items():
        with (copy / file).open("a", encoding="utf-8") as target:
            target.write(f"\n\n{text}" if (ROOT / file).exists() else text)
    return copy


def run(tree, *command):
    environment = os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(tree / "cache")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_rule_is_few_lines_in_few_files():
    added = additions()
    assert sorted(added) == ["fastopt/rules/signum.py", "tests/oracle.py"]
    assert len(added) <= MOST_FILES
    assert sum(text.strip().count("\n") + 1 for text in added.values()) <= MOST_LINES + 5, "the guide's rule has grown"


@needs("numba", "c")
def test_the_rule_passes_the_tests_of_the_backends(tree):
    files = ("rules", "bits", "compiled", "rule_documentation", "optimizer", "recorded_bits")
    output = run(
        tree, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "signum",
        *(f"tests/test_{name}.py" for name in files),
    )  # fmt: skip
    passed = int(re.search(r"(\d+) passed", output)[1])
    assert passed > 60
    assert "failed" not in output


def test_the_command_line_lists_and_explains_it(tree):
    assert "m = βm + (1−β)g" in run(tree, sys.executable, "-m", "fastopt", "rules")
    assert "where m is near zero" in run(tree, sys.executable, "-m", "fastopt", "rules", "signum")


def test_its_twin_in_cuda_c_compiles(tree):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed")
    script = (
        "from bench.twin import compile_twin\nfrom fastopt import RULES\n"
        "for dtype in ('float32', 'float64'):\n"
        "    print(len(compile_twin(RULES['signum'], dtype, 'compute_90', block=256, blocks=3)))\n"
    )
    assert all(int(size) > 1000 for size in run(tree, sys.executable, "-c", script).split())
