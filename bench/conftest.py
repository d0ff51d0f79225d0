"""Benchmarks under pytest-benchmark, to compare with an earlier commit: every backend of fastopt, and the roof."""

import pytest

from fastopt.backends import why_missing
from fastopt.bench.contenders import CONTENDERS

OWN = [name for name, c in CONTENDERS.items() if c.role != "peer" and c.device == "cpu" and "reference" not in name]


@pytest.fixture(params=OWN)
def contender(request):
    """Each backend of fastopt, and the roof."""
    found = CONTENDERS[request.param]
    reason = why_missing(found.options.get("backend", "numba"))
    if reason:
        pytest.skip(reason)
    return found
