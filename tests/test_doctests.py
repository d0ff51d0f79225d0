"""Every example in a docstring runs, and gives what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import fastopt

SCRIPTS = {"fastopt.__main__"}  # runs the command line when imported
NEEDS_EXTENSION = {"fastopt._c", "fastopt.backends.c"}
NEEDS_NUMBA = {"fastopt.backends.numba", "fastopt.backends.numba_intrinsics", "fastopt.backends.reductions"}

MODULES = sorted(
    {found.name for found in pkgutil.walk_packages(fastopt.__path__, "fastopt.")}
    - SCRIPTS
    - NEEDS_EXTENSION
    - NEEDS_NUMBA
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(found) > 20
