"""Tests that run in numba-cuda's simulator: pytest collects them as single tests, and runs them in another process.

Whether kernels are simulated is decided when numba-cuda is imported. So one process of pytest runs all tests of a file
when the first is due; each then has the outcome that it had there. `conftest.py` takes the hooks.
"""

import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

FILES = (
    "cuda_mlp_simulation.py",
    "cuda_simulated_bench.py",
    "cuda_simulated_bfloat16.py",
    "cuda_simulated_bits.py",
    "cuda_simulated_dlpack.py",
    "cuda_simulated_graphs.py",
    "cuda_simulation.py",
)
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
SECONDS = 600


def pytest_collect_file(file_path, parent):
    """Collect these files as well; pytest itself collects one that is named on its command line."""
    named = parent.session.isinitpath(file_path)
    return None if named else pytest_pycollect_makemodule(file_path, parent)


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.name in FILES and not SIMULATED and find_spec("numba_cuda"):
        return SimulatedModule.from_parent(parent, path=module_path)
    return None


class SimulatedModule(pytest.Module):
    """A file of such tests."""

    def collect(self):
        for found in super().collect():
            yield SimulatedTest.from_parent(self, name=found.name)


class SimulatedTest(pytest.Item):
    """One of them."""

    def runtest(self):
        selected = tuple(item.name for item in self.session.items if item.parent is self.parent)
        outcome, text = _outcomes(self.path, selected).get(self.name, ("failed", "it did not run"))
        if outcome == "skipped":
            pytest.skip(text)
        if outcome == "failed":
            pytest.fail(text, pytrace=False)

    def reportinfo(self):
        return self.path, None, self.name


@cache
def _outcomes(path, names):
    """Run the named tests of a file in the simulator; return outcome and text of each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        arguments = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", *(f"{path}::{name}" for name in names)]
        environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            env=environment, cwd=path.parent, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        if not report.exists():
            return dict.fromkeys(names, ("failed", done.stdout + done.stderr))
        return {case.get("name"): _outcome(case) for case in ElementTree.parse(report).iter("testcase")}


def _outcome(case):
    for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(kind)
        if found is not None:
            return outcome, f"{found.get('message')}\n{found.text}"
    return "passed", ""
