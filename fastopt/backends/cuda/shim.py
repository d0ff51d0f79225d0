"""All that fastopt takes from the package that compiles Python for GPUs: numba-cuda.

Nothing else imports it, so that a successor changes this file alone. Its simulator, which runs kernels as Python
functions over host memory, has holes; they are closed here too.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import cache
from types import SimpleNamespace
from typing import Any

import numba_cuda  # noqa: F401 - Numba alone has a module numba.cuda too, an old one: this says that it is missing
import numpy as np
from numba import cuda, njit
from numba.core.errors import TypingError
from numba.cuda import types
from numba.cuda.core import config
from numba.cuda.core import errors as cuda_errors
from numba.cuda.np.numpy_support import from_dtype

from . import dlpack

if not (simulated := bool(config.ENABLE_CUDASIM)):
    from numba.cuda.extending import _intrinsic, intrinsic
    from numba.cuda.typing.templates import infer_global, make_intrinsic_template

__all__ = [
    "CAPTURE_ERRORS",
    "DLPACK_DEVICES",
    "TYPING_ERRORS",
    "TypingError",
    "array_view",
    "check_gpu",
    "copied",
    "cuda",
    "device_name",
    "device_number",
    "empty",
    "event",
    "free_due",
    "free_memory",
    "from_dtype",
    "inlined",
    "intrinsic",
    "is_capturing",
    "kernel",
    "literal_intrinsic",
    "make_context_current",
    "memory_is_kept",
    "new_stream",
    "pinned",
    "record",
    "release",
    "simulated",
    "stands_for",
    "stream",
    "synchronize",
    "types",
    "use_strict_arithmetic",
    "wait_for",
]

TYPING_ERRORS = (TypingError, cuda_errors.TypingError)
"""What the compiler raises for a function that has no types: Numba's own error or its copy."""

DLPACK_DEVICES = (dlpack.CPU,) if simulated else (dlpack.CUDA, dlpack.CUDA_MANAGED)
"""The kinds of devices whose memory kernels can use, by DLPack's numbers."""

CAPTURE_ERRORS = range(900, 910)
"""Codes that the driver keeps for what a capture met."""

inlined: Callable[..., Any] = (lambda function: function) if simulated else njit(inline="always")
"""Makes a function part of the kernels that call it; as one of their own it could not be compiled without a GPU."""


def check_gpu() -> None:
    """Raise ImportError where there is no GPU to run on."""
    if not cuda.is_available():
        raise ImportError("no NVIDIA GPU with a working driver was found")


def device_name() -> str:
    """Return what the current GPU calls itself."""
    if simulated:
        return "simulator of numba-cuda"
    device = cuda.get_current_device()
    major, minor = device.compute_capability
    return f"{_text(device.name)} (sm_{major}{minor})"


def device_number() -> int:
    """Return which of the machine's GPUs is the current one."""
    number: int = 0 if simulated else cuda.get_current_device().id
    return number


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def kernel(function: Callable[..., Any], signature: tuple[Any, ...], bounds: tuple[int, ...]) -> Any:
    """Return what launches the function, compiled for the current GPU.

    `bounds` are the most threads of a block, and how many blocks a multiprocessor has registers for at the least.

    It is not optimized again when it is linked: what runs is the PTX that the tests look at.
    """
    if simulated:
        return _Simulated(cuda.jit(function))
    dispatcher = cuda.jit(signature, launch_bounds=bounds, lto=False)(function)
    _load(dispatcher)
    return _Compiled(dispatcher)


def _load(dispatcher: Any) -> None:
    """Have the driver load the kernel now; it would at the first launch, which may be in a capture.

    What stands in the way of it is said by that launch.
    """
    from cuda.bindings import driver

    (compiled,) = dispatcher.overloads.values()
    error, function = driver.cuKernelGetFunction(compiled.library.get_cufunc().handle)
    if not int(error):
        driver.cuFuncLoad(function)


class _Compiled:
    """A compiled kernel, whose launches on the same grid, block and stream are looked up once.

    Numba warns at the first launch of a grid that leaves most of a GPU idle. A small buffer is no mistake.
    """

    def __init__(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher
        self._launches: dict[tuple[Any, ...], Callable[..., None]] = {}

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        if configuration not in self._launches:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cuda_errors.NumbaPerformanceWarning)
                self._launches[configuration] = self.dispatcher[configuration]
        return self._launches[configuration]


def literal_intrinsic(function: Callable[..., Any]) -> Any:
    """Make an intrinsic of the function, which is given the types of numbers in a kernel's source with their values."""
    return _intrinsic(target="cuda", prefer_literal=True)(function)


def stands_for(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Compile the decorated intrinsic wherever a kernel calls `function`.

    `numba.cuda.extending.overload` would do it by compiling a function for the current GPU.
    """

    def register(code: Any) -> Any:
        template = make_intrinsic_template(function, code._defn, function.__name__, prefer_literal=False, kwargs={})
        infer_global(function, types.Function(template))
        return code

    return register


def use_strict_arithmetic(context: Any) -> None:
    """Compile the kernel at hand without contraction, and with denormal float32 numbers counting as zeros.

    These are options of NVVM that numba-cuda passes on but has no argument for, other than together with approximate
    division and roots. On the CPU both are so too; in float64, GPUs know no flush-to-zero.
    """
    context.active_code_library._nvvm_options.update(ftz=True, fma=False)


def empty(size: int, dtype: np.dtype[Any]) -> Any:
    """Return a new array in the memory of the current GPU."""
    return cuda.device_array(size, dtype)


def copied(values: np.ndarray[Any, Any]) -> Any:
    """Return a new array in the memory of the current GPU that holds the values, when they are there."""
    array = cuda.to_device(values)
    cuda.synchronize()
    return array


def pinned(size: int) -> np.ndarray[Any, Any]:
    """Return so many bytes of the host's memory that the GPU copies from by itself, while the host goes on."""
    memory: np.ndarray[Any, Any] = cuda.pinned_array(size, np.uint8)
    return memory


def event() -> Any:
    """Return an event, which is recorded in a stream and waited for."""
    return cuda.event() if simulated else cuda.event(timing=False)


def free_memory() -> int:
    """Return how many bytes of the current GPU's memory are free."""
    if simulated:
        return 1 << 30
    free: int = cuda.current_context().get_memory_info()[0]
    return free


def array_view(address: int, size: int, dtype: np.dtype[Any], keep: object) -> Any:
    """Return an array of the numbers from an address on, in memory that lives as long as `keep` does."""
    interface = {"data": (address, False), "shape": (size,), "strides": None, "typestr": dtype.str, "version": 3}
    if not simulated:
        return cuda.as_cuda_array(SimpleNamespace(__cuda_array_interface__=interface, keep=keep), sync=False)
    view = cuda.to_device(np.empty(0))
    view._ary = np.asarray(SimpleNamespace(__array_interface__=interface, keep=keep))
    return view


@cache
def stream(pointer: int | None) -> Any:
    """Return the stream of that address; the default one when it is None or 0."""
    if simulated:
        return cuda.default_stream()
    return cuda.external_stream(pointer) if pointer else cuda.default_stream()


def is_capturing(stream: Any) -> bool:
    """Return whether what is launched on the stream becomes part of a graph, or breaks the capture of one."""
    if simulated:
        return False
    from cuda.bindings import driver

    make_context_current()
    error, status = driver.cuStreamIsCapturing(driver.CUstream(int(stream.handle)))
    if int(error):  # others are not the capture's: what is launched next tells of them
        return int(error) in CAPTURE_ERRORS
    return bool(status != driver.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE)


def new_stream() -> Any:
    """Return a stream that nobody else launches on, and that the default stream does not wait for.

    While a stream that it waits for is captured, no thread of the process may use the default stream.
    """
    if simulated:
        return SimpleNamespace(ptr=2)
    from cuda.bindings import driver

    make_context_current()
    error, handle = driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    if int(error):
        raise RuntimeError(f"cuStreamCreate: the driver says {error.name}")
    made = cuda.external_stream(int(handle))
    release(made, driver.cuStreamDestroy, handle)
    return made


def release(owner: object, destroy: Callable[[Any], object], handle: Any) -> None:
    """Have what the driver keeps destroyed when its owner is gone, but not in a capture, which that might end.

    At the end of the process nothing is given back.
    """
    if simulated:
        weakref.finalize(owner, destroy, handle).atexit = False
    else:
        due = cuda.current_context().deallocations
        weakref.finalize(owner, due.add_item, destroy, handle).atexit = False


def synchronize() -> None:
    """Wait until the current GPU has done all that it was told."""
    cuda.synchronize()


def wait_for(pointer: int | None) -> bool:
    """Wait for a stream's work; return False, at once, where waiting would break the capture of a graph."""
    of_pointer = stream(pointer)
    if is_capturing(of_pointer):
        return False
    of_pointer.synchronize()
    return True


def make_context_current() -> None:
    """Have the driver's own functions work on the current GPU in this thread, as Numba's do."""
    from cuda.bindings import driver

    error, context = driver.cuCtxGetCurrent()
    if int(error) or not int(context):  # asking Numba each time would take longer
        cuda.current_context()


def free_due() -> None:
    """Free what is due: arrays, which have a list of their own, and all else."""
    context = cuda.current_context()
    context.memory_manager.deallocations.clear()
    context.deallocations.clear()


def memory_is_kept() -> AbstractContextManager[None]:
    """Return a context in which no memory of the GPU is freed; what is due is freed behind it."""
    return cuda.defer_cleanup()


_recorded: ContextVar[list[Callable[[], None]] | None] = ContextVar("recorded", default=None)


class _Simulated:
    """A kernel of the simulator, whose launches can be recorded instead of run, as a capture does."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            self._kernel[configuration](*arguments)

        def launch_or_record(*arguments: Any) -> None:
            recorded = _recorded.get()
            if recorded is None:
                launch(*arguments)
            else:
                recorded.append(lambda: launch(*arguments))

        return launch_or_record


def record(function: Callable[[], object]) -> Callable[[int], None]:
    """Return what the simulator has for a captured graph: it runs the kernels that `function` has launched."""
    launches: list[Callable[[], None]] = []
    before = _recorded.set(launches)
    try:
        function()
    finally:
        _recorded.reset(before)

    def replay(stream: int) -> None:
        for launch in launches:
            launch()

    return replay
