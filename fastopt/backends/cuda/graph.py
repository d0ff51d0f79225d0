"""Launches that are captured once and replayed as one: CUDA graphs, by the driver's own functions.

A graph holds each launch with its arguments: addresses and numbers as they were. What lies at the addresses is read
when it is replayed, and so coefficients that are to change between two replays lie in device memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import shim
from .streams import launches_on, pointer_of

__all__ = ["Graph", "capture"]

_DEFAULT_STREAMS = (0, 1)


class Graph:
    """Launches that were captured. Made by :func:`capture`."""

    def __init__(self, launch: Callable[[int], None], stream: int, keep: object) -> None:
        self._launch = launch
        self._stream = stream
        self._keep = keep  # a graph reads memory without owning it

    def replay(self, stream: Any = None) -> None:
        """Launch all of it on the stream that it was captured on, or on another; do not wait for it."""
        self._launch(self._stream if stream is None else pointer_of(stream))


def capture(function: Callable[[], object], stream: Any = None) -> Graph:
    """Return the launches that `function` makes, without running one of them.

    All launches of fastopt go to the stream meanwhile, whoever owns the arrays; other libraries have to be told. The
    function may not allocate memory on the GPU, copy from pageable memory, or wait: that has to be done before.

    Parameters
    ----------
    function
        Called once, without arguments. The graph keeps it, and with it the memory that it refers to.
    stream
        Of Numba, CuPy, PyTorch or `cuda.core`, or its address; not the default stream. By default one made for it.

    Raises
    ------
    ValueError
        It is the default stream, which cannot be captured.
    RuntimeError
        The driver could not capture what the function did.

    Examples
    --------
    >>> graph = capture(lambda: kernel[blocks, threads, stream](values), stream)  # doctest: +SKIP
    >>> graph.replay()  # doctest: +SKIP
    """
    stream = shim.new_stream() if stream is None else stream
    pointer = pointer_of(stream)
    if pointer in _DEFAULT_STREAMS:
        raise ValueError(
            "stream: got the default stream, which CUDA does not capture; pass another, or None for a new one"
        )
    with launches_on(pointer, captured=True):
        launch = shim.record(function) if shim.simulated else _executable(function, pointer)
    return Graph(launch, pointer, (function, stream))


def _executable(function: Callable[[], object], pointer: int) -> Callable[[int], None]:
    """Return what launches the captured graph on the stream of an address."""
    from cuda.bindings import driver

    graph = _captured(driver, function, driver.CUstream(pointer))
    try:
        executable = _call(driver.cuGraphInstantiate, graph, 0)
    finally:
        _call(driver.cuGraphDestroy, graph)

    def launch(stream: int) -> None:
        shim.make_context_current()
        _call(driver.cuGraphLaunch, executable, driver.CUstream(stream))

    # the driver lets a launch that is under way end first
    shim.release(launch, driver.cuGraphExecDestroy, executable)
    return launch


def _captured(driver: Any, function: Callable[[], object], stream: Any) -> Any:
    """Return the graph of what the function launches.

    Other threads may do what they like meanwhile; this one may do nothing that a replay would leave out.
    """
    shim.make_context_current()
    with shim.memory_is_kept():  # to free it would end the capture
        _call(driver.cuStreamBeginCapture, stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            function()
        except BaseException:
            error, graph = driver.cuStreamEndCapture(stream)
            if not int(error):
                driver.cuGraphDestroy(graph)
            raise
        return _call(driver.cuStreamEndCapture, stream)


def _call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Return a driver function's result, or raise its error."""
    error, *results = function(*arguments)
    if int(error):
        hint = (
            "; what is captured may not allocate memory on the GPU, copy from pageable memory, or wait: do it before"
            if int(error) in shim.CAPTURE_ERRORS
            else ""
        )
        raise RuntimeError(f"{function.__name__}: the driver says {error.name}{hint}")
    return results[0] if results else None
