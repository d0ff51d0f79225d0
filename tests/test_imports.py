"""What an import costs, and which names there are."""

import json
import subprocess
import sys

import pytest

import fastopt
import fastopt.backends
import fastopt.rules

HEAVY = ("cffi", "matplotlib", "numba", "numba_cuda", "safetensors", "scipy", "torch", "tqdm")


def imported_by(statements):
    """Return the top-level names of the modules that a fresh interpreter has after the statements."""
    report = "; import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", statements + report]
    return set(json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout))


@pytest.mark.parametrize(
    "statements",
    [
        "import fastopt",
        "import fastopt; dir(fastopt); fastopt.__all__",
        "from fastopt import RULES, Layout, Optimizer, Rule, Segment, clip, fma, get_rule, rule, where",
        "import numpy, fastopt; fastopt.Optimizer(numpy.zeros(2), 'adam', backend='reference').step(numpy.ones(2))",
    ],
)
def test_nothing_heavier_than_numpy_is_imported(statements):
    modules = imported_by(statements)
    assert {"fastopt", "json"} <= modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", [fastopt, fastopt.backends, fastopt.rules], ids=lambda module: module.__name__)
def test_every_public_name_resolves_once(module):
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


def test_public_names_are_sorted_without_regard_to_case():
    assert [name.lower() for name in fastopt.__all__] == sorted(name.lower() for name in fastopt.__all__)


def test_dir_lists_the_public_names():
    assert set(fastopt.__all__) | {"__version__"} <= set(dir(fastopt))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'fastopt' has no attribute 'Adamm'"):
        _ = fastopt.Adamm
