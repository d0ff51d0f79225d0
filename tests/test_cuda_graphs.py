"""What is asked of the driver to capture a graph and to replay it, with a driver that only notes it."""

import importlib.util
from contextlib import contextmanager
from enum import IntEnum
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed: pip install 'fastopt[cuda]'"
)

Result = IntEnum(
    "Result", {"CUDA_SUCCESS": 0, "CUDA_ERROR_INVALID_VALUE": 1, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": 901}
)
STREAM = 4096


class Driver:
    """Notes its calls; those named in `failing` return that error."""

    CUstream = staticmethod(lambda pointer: pointer)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="this thread")

    def __init__(self, **failing):
        self.calls, self.failing = [], failing
        self.results = {"cuStreamEndCapture": ("graph",), "cuGraphInstantiate": ("executable",)}

    def __getattr__(self, name):
        results = self.results.get(name, ())

        def call(*arguments):
            self.calls.append((name, *arguments))
            return (self.failing.get(name, Result.CUDA_SUCCESS), *results)

        call.__name__ = name
        return call


@pytest.fixture
def use(monkeypatch):
    from fastopt.backends.cuda import shim

    def install(**failing):
        driver = Driver(**failing)

        @contextmanager
        def kept():
            driver.calls.append("memory is kept")
            yield
            driver.calls.append("memory is freed")

        monkeypatch.setattr("cuda.bindings.driver", driver)
        monkeypatch.setattr(shim, "make_context_current", lambda: None)
        monkeypatch.setattr(shim, "memory_is_kept", kept)
        return driver

    return install


BEGUN = ["memory is kept", ("cuStreamBeginCapture", STREAM, "this thread")]


def test_a_graph_is_captured_once_and_replayed_on_any_stream(use):
    from fastopt.backends.cuda.graph import capture

    driver = use()
    graph = capture(lambda: driver.cuLaunchKernel("pass"), SimpleNamespace(cuda_stream=STREAM))
    assert driver.calls == [
        *BEGUN,
        ("cuLaunchKernel", "pass"),
        ("cuStreamEndCapture", STREAM),
        "memory is freed",
        ("cuGraphInstantiate", "graph", 0),
        ("cuGraphDestroy", "graph"),
    ]
    driver.calls.clear()
    graph.replay()
    graph.replay(SimpleNamespace(ptr=8192))
    assert driver.calls == [("cuGraphLaunch", "executable", STREAM), ("cuGraphLaunch", "executable", 8192)]
    driver.calls.clear()
    del graph
    assert driver.calls == [("cuGraphExecDestroy", "executable")]


def test_a_function_that_fails_ends_its_capture(use):
    from fastopt.backends.cuda.graph import capture

    driver = use()
    with pytest.raises(ZeroDivisionError):
        capture(lambda: 1 / 0, STREAM)
    assert driver.calls == [*BEGUN, ("cuStreamEndCapture", STREAM), ("cuGraphDestroy", "graph")]


def test_what_cannot_be_captured_is_said_with_what_to_do(use):
    from fastopt.backends.cuda.graph import capture

    use(cuStreamEndCapture=Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    with pytest.raises(RuntimeError, match=r"cuStreamEndCapture: .*_CAPTURE_INVALIDATED; .* do it before"):
        capture(lambda: None, STREAM)


def test_a_launch_that_fails_raises_the_driver_s_word(use):
    from fastopt.backends.cuda.graph import capture

    driver = use()
    graph = capture(lambda: None, STREAM)
    driver.failing["cuGraphLaunch"] = Result.CUDA_ERROR_INVALID_VALUE
    with pytest.raises(RuntimeError, match=r"cuGraphLaunch: the driver says CUDA_ERROR_INVALID_VALUE$"):
        graph.replay()


@pytest.mark.parametrize(
    ("result", "status", "expected"),
    [
        (Result.CUDA_SUCCESS, "NONE", False),
        (Result.CUDA_SUCCESS, "ACTIVE", True),
        (Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "NONE", True),
    ],
)
def test_a_stream_that_another_library_captures_is_known(result, status, expected, use, monkeypatch):
    from fastopt.backends.cuda import shim

    driver = use(cuStreamIsCapturing=result)
    statuses = SimpleNamespace(CU_STREAM_CAPTURE_STATUS_NONE="NONE")
    monkeypatch.setattr(driver, "CUstreamCaptureStatus", statuses, raising=False)
    driver.results["cuStreamIsCapturing"] = (status,)
    assert shim.is_capturing(SimpleNamespace(handle=STREAM)) == expected
    assert driver.calls == [("cuStreamIsCapturing", STREAM)]
