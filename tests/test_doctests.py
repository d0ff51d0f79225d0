"""Every example in a docstring runs, and gives what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import fastopt

SCRIPTS = {"fastopt.__main__"}  # runs the command line when imported
NEEDS_COMPILER = ("fastopt._c", "fastopt.backends.c", "fastopt.backends.numba")

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(fastopt.__path__, "fastopt.")
    if found.name not in SCRIPTS and not found.name.startswith(NEEDS_COMPILER)
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
