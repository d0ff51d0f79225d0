"""Arrays that export themselves by DLPack in the simulator, where the host's memory is the device's.

`simulated.py` runs this. How capsules are read is tested in `test_dlpack.py`.
"""

import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from bfloat16 import rounded
from conftest import bits, draw
from cuda_simulation import DeviceArray, _small_blocks  # noqa: F401 - a fixture
from test_dlpack import Exporter
from test_errors import contains

from fastopt import Optimizer
from fastopt.backends import get_backend
from fastopt.backends.cuda import shim
from fastopt.backends.cuda.dlpack import CPU, CUDA


def pretend_torch(monkeypatch):
    current = SimpleNamespace(cuda_stream=4096)
    monkeypatch.setitem(
        sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(current_stream=lambda device: current))
    )


class Exports:
    """An array without a CUDA array interface, in memory of NumPy."""

    def __init__(self, values):
        self.values = values

    @property
    def shape(self):
        return self.values.shape

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __dlpack__(self, **arguments):
        return self.values.__dlpack__(**arguments)


def bfloat16_exporter(values):
    halves = rounded(values)
    exporter = Exporter(halves.size, code=4, bits=16, device=(CPU, 0), data=halves.ctypes.data)
    exporter.values, exporter.dtype = halves, "bfloat16"
    return exporter


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_updated_in_place(dtype):
    by_dlpack = Optimizer(Exports(draw(0, 37, dtype)), "adam", backend="cuda")
    by_interface = Optimizer(DeviceArray(draw(0, 37, dtype)), "adam", backend="cuda")
    for t in range(1, 3):
        by_dlpack.step(Exports(draw(t, 37, dtype)))
        by_interface.step(DeviceArray(draw(t, 37, dtype)))
    assert bits(by_dlpack.parameters.values) == bits(by_interface.parameters.values)


def test_arrays_of_bfloat16_are_updated_in_place():
    parameters = bfloat16_exporter(draw(0, 37))
    wrapped = get_backend("cuda").device.wrap(parameters)
    assert (wrapped.dtype.name, wrapped.size, wrapped.address) == ("bfloat16", 37, parameters.values.ctypes.data)
    get_backend("cuda").device.clear(wrapped)
    assert not parameters.values.any()


def test_memory_is_given_back_when_the_last_buffer_over_it_is_gone():
    array = Exports(draw(0, 37))
    counts = [sys.getrefcount(array.values)]  # an assertion would hold one more
    optimizer = Optimizer(array, "sgd", backend="cuda")
    counts.append(sys.getrefcount(array.values))
    del optimizer
    gc.collect()
    counts.append(sys.getrefcount(array.values))
    assert counts == [counts[0], counts[0] + 1, counts[0]]


def test_the_interface_is_preferred_except_for_bfloat16_which_it_has_no_word_for(monkeypatch):
    class Both(DeviceArray):
        def __dlpack__(self, **arguments):
            raise AssertionError("not to be asked")

        def __dlpack_device__(self):
            return (CPU, 0)

    assert get_backend("cuda").device.wrap(Both(draw(0, 9))).size == 9

    class Tensor(Exporter):
        """Of bfloat16, as PyTorch has them."""

        __module__, dtype = "torch", "torch.bfloat16"

        @property
        def __cuda_array_interface__(self):
            raise KeyError("bfloat16")

    pretend_torch(monkeypatch)
    tensor = Tensor(code=4, bits=16, device=(CPU, 0), data=np.zeros(8).ctypes.data)
    assert get_backend("cuda").device.describe("parameters", tensor).dtype.name == "bfloat16"


def test_gradients_of_jax_come_by_dlpack_which_has_our_stream_wait_for_them():
    class ArrayImpl(Exports):
        __module__ = "jaxlib._jax"
        exported = 0
        __cuda_array_interface__ = {"shape": (8,), "typestr": "<f4", "data": (0, True), "version": 2}  # noqa: RUF012

        def __dlpack__(self, **arguments):
            self.exported += 1
            return super().__dlpack__(**arguments)

    gradients = ArrayImpl(draw(1, 8))
    memory = get_backend("cuda").device.describe("gradients", gradients)
    assert (gradients.exported, memory.read_only) == (1, True)


@pytest.mark.parametrize(("module", "waits"), [("jaxlib._jax", [None]), ("torch", [])])
def test_a_gradient_is_given_back_when_its_pass_is_over(module, waits, monkeypatch):
    made, waited = type("Array", (Exporter,), {"__module__": module}), []
    monkeypatch.setattr(shim, "wait_for", lambda stream: waited.append(stream) is None)
    pretend_torch(monkeypatch)
    gradients = made(8, device=(CPU, 0), data=np.zeros(8, "f4").ctypes.data)
    described = get_backend("cuda").device.describe("gradients", gradients)
    assert waited == []
    del described
    gc.collect()
    assert (waited, gradients.deleted) == (waits, 1)


def read_only():
    values = draw(1, 8)
    values.flags.writeable = False
    return Exports(values)


def on_another_gpu(monkeypatch):
    monkeypatch.setattr(shim, "DLPACK_DEVICES", (CUDA,))
    return Exporter(8, device=(CUDA, 3))


def that_cannot_export():
    class Refuses(Exports):
        def __dlpack__(self, **arguments):
            raise BufferError("use tensor.detach()")

    return Refuses(draw(1, 8))


def of_jax():
    return type("ArrayImpl", (Exports,), {"__module__": "jaxlib._jax"})(draw(1, 8))


REFUSED = {
    "read-only": (read_only, ValueError, "read-only writable"),
    "of JAX": (of_jax, ValueError, "read-only JAX copy"),
    "of integers": (lambda: Exports(np.zeros(8, "int32")), TypeError, "int32 float32"),
    "strided": (lambda: Exports(draw(1, 16)[::2]), ValueError, "strided 8 bytes contiguous"),
    "two dimensions": (lambda: Exports(draw(1, 8).reshape(2, 4)), ValueError, "(2, 4) one dimension"),
    "no dimension": (lambda: Exports(np.array(1, "float32")), ValueError, "() one dimension"),
    "unwilling": (that_cannot_export, TypeError, "Refuses DLPack detach()"),
    "elsewhere": (lambda: Exporter(8, device=(10, 0)), TypeError, "Exporter GPU DLPack"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_updated_in_place_is_refused(case):
    make, exception, words = REFUSED[case]
    with pytest.raises(exception, match=contains(f"parameters {words}")):
        Optimizer(make(), "sgd", backend="cuda")
    optimizer = Optimizer(Exports(draw(0, 8)), "sgd", backend="cuda", zero_grad=True)
    with pytest.raises(exception, match=contains(f"gradients {words}")):
        optimizer.step(make())
    assert optimizer.steps == 0


@pytest.mark.parametrize("make", [read_only, of_jax])
def test_gradients_may_be_read_only_unless_they_are_set_to_zero(make):
    mine, expected = (Optimizer(Exports(draw(0, 8)), "sgd", backend="cuda") for _ in range(2))
    mine.step(make())
    expected.step(Exports(draw(1, 8)))
    assert mine.parameters.values.tobytes() == expected.parameters.values.tobytes()


def test_an_array_on_another_gpu_is_refused_and_given_back(monkeypatch):
    array = on_another_gpu(monkeypatch)
    with pytest.raises(ValueError, match=contains("parameters GPU 3 current 0 set_device")):
        Optimizer(array, "sgd", backend="cuda")
    gc.collect()
    assert array.deleted == 1
