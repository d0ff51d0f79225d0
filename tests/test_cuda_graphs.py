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

        def add_item(destroy, handle):
            driver.calls.append(("is due", destroy.__name__, handle))

        context = SimpleNamespace(deallocations=SimpleNamespace(add_item=add_item))
        monkeypatch.setattr("cuda.bindings.driver", driver)
        monkeypatch.setattr(shim.cuda, "current_context", lambda: context)
        monkeypatch.setattr(shim, "make_context_current", lambda: None)
        monkeypatch.setattr(shim, "memory_is_kept", kept)
        return driver

    return install


class OfAnother:
    """A stream that another library made."""

    def __init__(self, pointer):
        self.pointer = pointer


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
    assert driver.calls == [("is due", "cuGraphExecDestroy", "executable")]


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
        (Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None, True),
        (Result.CUDA_ERROR_INVALID_VALUE, None, False),
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


def test_the_default_stream_does_not_wait_for_a_stream_of_ours(use, monkeypatch):
    from fastopt.backends.cuda import shim

    driver = use()
    monkeypatch.setattr(driver, "CUstream_flags", SimpleNamespace(CU_STREAM_NON_BLOCKING=1), raising=False)
    monkeypatch.setattr(shim.cuda, "external_stream", OfAnother)
    driver.results["cuStreamCreate"] = (STREAM,)
    stream = shim.new_stream()
    assert (stream.pointer, driver.calls) == (STREAM, [("cuStreamCreate", 1)])
    del stream
    assert driver.calls[1:] == [("is due", "cuStreamDestroy", STREAM)]


@pytest.mark.parametrize(
    ("result", "context", "asked"),
    [(Result.CUDA_SUCCESS, 7, []), (Result.CUDA_SUCCESS, 0, [1]), (Result.CUDA_ERROR_INVALID_VALUE, None, [1])],
)
def test_numba_is_asked_for_the_gpu_only_in_a_thread_that_has_none(result, context, asked, monkeypatch):
    from fastopt.backends.cuda import shim

    calls = []
    driver = Driver(cuCtxGetCurrent=result)
    driver.results["cuCtxGetCurrent"] = (context,)
    monkeypatch.setattr("cuda.bindings.driver", driver)
    monkeypatch.setattr(shim.cuda, "current_context", lambda: calls.append(1))
    shim.make_context_current()
    assert calls == asked


@pytest.mark.parametrize(
    ("result", "loaded"), [(Result.CUDA_SUCCESS, [("cuFuncLoad", "function")]), (Result.CUDA_ERROR_INVALID_VALUE, [])]
)
def test_a_kernel_is_loaded_when_it_is_made(result, loaded, use, monkeypatch):
    from fastopt.backends.cuda import shim

    driver = use(cuKernelGetFunction=result)
    driver.results["cuKernelGetFunction"] = ("function",)
    compiled = SimpleNamespace(library=SimpleNamespace(get_cufunc=lambda: SimpleNamespace(handle="kernel")))
    monkeypatch.setattr(shim.cuda, "jit", lambda *_, **__: lambda function: SimpleNamespace(overloads={(): compiled}))
    shim.kernel(len, (), (1,))
    assert driver.calls == [("cuKernelGetFunction", "kernel"), *loaded]


def test_what_is_due_is_freed_of_arrays_and_of_all_else(monkeypatch):
    from numba import cuda

    from fastopt.backends.cuda.facts import free_unused

    freed = []
    arrays, others = (SimpleNamespace(clear=lambda kind=kind: freed.append(kind)) for kind in ("arrays", "others"))
    context = SimpleNamespace(memory_manager=SimpleNamespace(deallocations=arrays), deallocations=others)
    monkeypatch.setattr(cuda, "current_context", lambda: context)
    free_unused()
    assert freed == ["arrays", "others"]
