"""What the tests of the core share: the backends that are here, hyper-parameters for every rule, random buffers."""

import os
import shutil
import signal
from importlib.util import find_spec

import numpy as np
import pytest
from oracle import HYPER
from simulated import pytest_collect_file, pytest_pycollect_makemodule  # noqa: F401 - hooks

from fastopt.backends import BACKENDS, storage_of, why_missing

__all__ = ["DTYPES", "HYPER"]

# Read when OpenMP is loaded. By default its threads wait for work by spinning: two processes of tests, one a processor,
# then keep each other from it, and take twice the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

DTYPES = ("float32", "float64")


FAST = {"test_data", "test_data_inputs", "test_data_load", "test_imports", "test_nn", "test_rule_documentation"}
"""Files none of whose tests needs a compiler."""


def pytest_collection_modifyitems(items):
    """Mark as fast what needs no compiler: tests of these files, and those of the reference backend."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        on_reference = "reference" in (parameters.get("backend"), parameters.get("own"))
        is_slow = item.path.stem == "test_textbook" or "allocates" in item.name  # a traced allocation takes its time
        if not is_slow and (item.path.stem in FAST or on_reference):
            item.add_marker(pytest.mark.fast)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each worker whole files where CUDA is simulated: a file's tests run together, in a process of their own."""
    if not find_spec("numba_cuda"):
        return None
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


def plain(dtype):
    """Return the storage of buffers that all have the dtype."""
    return storage_of(np.dtype(dtype), None, "nearest")


def needs(*backends):
    """Skip a test where one of the backends is missing, and say why."""
    reasons = [reason for reason in map(why_missing, backends) if reason]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: neither cc, gcc nor clang is on the path"
)


@pytest.fixture(params=[pytest.param(name, marks=needs(name)) for name in BACKENDS if name != "cuda"])
def backend(request):
    """The name of each backend of NumPy arrays."""
    return request.param


@pytest.fixture(params=[pytest.param(name, marks=needs(name)) for name in ("numba", "c")])
def compiled(request):
    """The name of each backend that computes in the dtype of the buffers."""
    return request.param


@pytest.fixture(scope="session")
def _library_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(autouse=True)
def _libraries_are_kept_elsewhere(monkeypatch, _library_cache):
    """User-defined rules compiled to C leave nothing in the user's cache; matplotlib keeps the one that it has."""
    if why_missing("c") is None:
        monkeypatch.setattr("fastopt.backends.c_compile.cache_folder", lambda: _library_cache)


@pytest.fixture(autouse=True)
def _signals_are_not_ignored():
    """Who runs the tests in the background may ignore Ctrl-C, or under nohup SIGHUP, and processes hand that on."""
    handlers = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    numbers = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def draw(seed, size, dtype="float32", offset=0):
    """Return `size` normal numbers, `offset` elements behind the start of an allocation."""
    buffer = np.zeros(size + offset, dtype)
    buffer[offset:] = np.random.default_rng(seed).standard_normal(size)
    return buffer[offset:]


def bits(*arrays):
    """Return the bytes of the arrays: equal only where every bit is, the sign of zero and of NaN included."""
    return [array.tobytes() for array in arrays]


def contents(optimizer):
    """Return copies of the parameters and of the states, by name."""
    return {"parameters": optimizer.parameters.copy()} | {name: x.copy() for name, x in optimizer.state.items()}
