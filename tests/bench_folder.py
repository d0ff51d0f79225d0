"""The folder ``bench/`` next to the tests: peers, goals and the comparison of bits, which the wheel does not have."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

sys.path.append(str(ROOT))  # last, so that an installed fastopt is found first


def bench_module(name):
    """Return a module of the folder, or skip the test file that asks for it."""
    return pytest.importorskip(name, reason="the tests lie outside the source tree, without its folder bench/")
