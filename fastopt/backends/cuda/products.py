"""Products of matrices on the current GPU: cuBLAS, called by its C functions.

cuBLAS is what every framework on an NVIDIA GPU multiplies by; the question was by which way to call it.

- ctypes, taken: seven functions whose declarations have not changed since CUDA 11, of the library that the wheel
  ``nvidia-cublas`` brings and that ``cuda.pathfinder``, which numba-cuda requires, finds. Nothing else is imported, and
  a call takes addresses and a stream.
- nvmath-python has the same functions and cuBLASLt's, in a module that its documentation calls experimental; its extra
  for CUDA 13 installs 2.3 GB of libraries, of which cuBLAS is 0.6. The fused epilogues of cuBLASLt know bias, relu and
  gelu and their gradients: of our activations one, without a choice of its subgradient at zero.
- CuPy refuses cuBLAS while a stream is captured (cupy/cupy#6290), and PyTorch is some gigabytes: each would bring
  arrays and a memory pool of its own, where addresses are all that is needed.

Float32 is multiplied and added in float32: the library's default, without TF32. Its bits depend on the GPU and on the
library's version, and for one of both on shapes alone, since one stream uses the workspace.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import shim
from .buffer import DeviceBuffer

__all__ = ["WORKSPACE_BYTES", "Products", "library", "make_products"]

WORKSPACE_BYTES = 32 << 20
"""What NVIDIA recommends for Hopper; a workspace of ours means that nothing is allocated while a graph is captured."""

_INSTALL = "pip install 'fastopt[cuda]', or nvidia-cublas alone"

_PLAIN, _TRANSPOSED = 0, 1

_pointer, _int, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_GEMM = (_pointer, _int, _int, _int, _int, _int, *[_pointer] * 2, _int, _pointer, _int, *[_pointer] * 2, _int)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (ctypes.POINTER(_pointer),),
    "cublasDestroy_v2": (_pointer,),
    "cublasGetProperty": (_int, ctypes.POINTER(_int)),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, _size),
    "cublasSgemm_v2": _GEMM,
    "cublasDgemm_v2": _GEMM,
}

_STATUS = {
    1: "it could not be initialized",
    3: "it had no memory",
    7: "an invalid value",
    8: "the GPU is too old for it",
    11: "it could not reach the GPU's memory",
    13: "the GPU failed",
    14: "an error of its own",
    15: "not supported",
}


def library() -> ctypes.CDLL:
    """Return cuBLAS, loaded, with the types of its functions declared.

    Raises
    ------
    ImportError
        It is not installed.
    """
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        path = load_nvidia_dynamic_lib("cublas").abs_path
    except DynamicLibNotFoundError as error:
        raise ImportError(f"training on a GPU multiplies by cuBLAS, which was not found: {_INSTALL}") from error
    loaded = ctypes.CDLL(path)
    for name, arguments in _FUNCTIONS.items():
        getattr(loaded, name).argtypes = arguments
    return loaded


class Products:
    """Multiplies matrices that lie row by row in the memory of the current GPU.

    Parameters
    ----------
    dtype
        Of all matrices.
    stream
        The address of the stream that the products are launched on.
    """

    def __init__(self, dtype: np.dtype[Any], stream: int) -> None:
        self._library = library()
        self._gemm = self._library.cublasSgemm_v2 if dtype == np.float32 else self._library.cublasDgemm_v2
        self._workspace = shim.empty(WORKSPACE_BYTES, np.dtype(np.uint8))
        self._handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        shim.release(self, self._library.cublasDestroy_v2, self._handle)
        self._stream: int | None = None
        self.use(stream)
        # Read when a product is launched, by the host.
        self._one, self._zero = np.ones(1, dtype), np.zeros(1, dtype)

    def use(self, stream: int) -> None:
        """Launch on the stream of that address from now on."""
        if stream != self._stream:
            # In this order: a new stream takes the workspace back.
            self._call("cublasSetStream_v2", self._handle, stream)
            self._call("cublasSetWorkspace_v2", self._handle, _address(self._workspace), WORKSPACE_BYTES)
            self._stream = stream

    def __call__(
        self,
        out: Any,
        a: Any,
        b: Any,
        sizes: tuple[int, int, int],
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        """Launch out[rows, columns] = a · b, where a is (rows, depth) and b is (depth, columns).

        Parameters
        ----------
        sizes
            Rows, columns, depth.
        transpose_a, transpose_b
            Take a to lie as (depth, rows), b to lie as (columns, depth).
        """
        rows, columns, depth = sizes
        # cuBLAS has columns where we have rows: it sees transposed matrices, and so the factors change sides.
        status = self._gemm(
            self._handle,
            _TRANSPOSED if transpose_b else _PLAIN,
            _TRANSPOSED if transpose_a else _PLAIN,
            columns,
            rows,
            depth,
            self._one.ctypes.data,
            _address(b),
            depth if transpose_b else columns,
            _address(a),
            rows if transpose_a else depth,
            self._zero.ctypes.data,
            _address(out),
            columns,
        )
        if status:
            raise _failure("a product", status)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise _failure(name, status)


def make_products(dtype: np.dtype[Any], stream: Any) -> Any:
    """Return what multiplies on the stream; in the simulator it is NumPy.

    Raises
    ------
    ImportError
        cuBLAS is not installed.
    """
    if shim.simulated:
        from .simulation import Products as Simulated

        return Simulated(dtype, stream)
    from .streams import pointer_of

    return Products(dtype, pointer_of(stream))


def _address(array: Any) -> int:
    return DeviceBuffer(array).address


def _failure(what: str, status: int) -> RuntimeError:
    return RuntimeError(
        f"cuBLAS: {what} failed with status {status}, {_STATUS.get(status, 'which it does not explain')}"
    )
