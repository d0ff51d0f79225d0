"""Capsules of DLPack are read as the standard says: those of NumPy and PyTorch, and ones made here byte by byte."""

import ctypes
import gc

import numpy as np
import pytest

from fastopt._bfloat16 import BFLOAT16
from fastopt.backends.cuda import dlpack
from fastopt.backends.cuda.dlpack import CPU, CUDA, export, read

_new = ctypes.pythonapi.PyCapsule_New
_new.argtypes, _new.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
NAMES = {False: b"dltensor", True: b"dltensor_versioned"}


class Exporter:
    """An array that exports whatever it is told to, and counts how often it gets its memory back."""

    def __init__(
        self, size=6, *, versioned=True, code=2, bits=32, lanes=1, device=(CUDA, 0), strides=None, byte_offset=0,
        flags=0, version=(1, 0), data=4096, deletes=True,
    ):  # fmt: skip
        self.deleted, self.device, self.asked = 0, device, []
        self.name = NAMES[versioned]
        self.shape = (size,)
        self.numbers = (ctypes.c_int64 * 1)(size), (ctypes.c_int64 * 1)(*strides or (1,))
        managed = self.managed = (dlpack._ManagedVersioned if versioned else dlpack._Managed)()
        if versioned:
            managed.major, managed.minor = version
            managed.flags = flags
        self.deleter = dlpack._Deleter(self.delete)
        if deletes:
            managed.deleter = self.deleter
        tensor = managed.tensor
        tensor.data, tensor.dimensions, tensor.byte_offset = data, 1, byte_offset
        tensor.device.kind, tensor.device.number = device
        tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, bits, lanes
        addresses = [ctypes.cast(number, ctypes.POINTER(ctypes.c_int64)) for number in self.numbers]
        tensor.shape = addresses[0]
        if strides:
            tensor.strides = addresses[1]

    def delete(self, managed):
        assert managed == ctypes.addressof(self.managed)
        self.deleted += 1

    def capsule(self):
        return _new(ctypes.addressof(self.managed), self.name, None)

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **arguments):
        self.asked.append(arguments)
        return self.capsule()


@pytest.mark.parametrize("versioned", [False, True])
def test_address_shape_dtype_and_device_are_read(versioned):
    exporter = Exporter(size=6, versioned=versioned, byte_offset=8, device=(CUDA, 3), code=2, bits=64)
    exported = read(exporter.capsule(), exporter)
    memory = exported.memory
    assert (memory.address, memory.shape, memory.strides, memory.dtype) == (4104, (6,), None, np.dtype("float64"))
    assert exported.device == (CUDA, 3)
    assert memory.owner is exporter
    assert not memory.read_only


def test_bfloat16_is_known_and_strides_are_in_bytes():
    memory = read(Exporter(code=4, bits=16, strides=(3,)).capsule(), None).memory
    assert memory.dtype is BFLOAT16
    assert memory.strides == (6,)


@pytest.mark.parametrize("versioned", [False, True])
def test_the_memory_is_given_back_once_when_nobody_looks_at_it_any_more(versioned):
    exporter = Exporter(versioned=versioned)
    capsule = exporter.capsule()
    exported = read(capsule, exporter)
    view = exported.memory.held
    del exported, capsule
    gc.collect()
    assert exporter.deleted == 0
    del view
    gc.collect()
    assert exporter.deleted == 1


def test_what_is_under_way_is_waited_for_before_the_memory_is_given_back():
    exporter, deleted = Exporter(), []
    exported = read(exporter.capsule(), exporter, lambda: deleted.append(exporter.deleted) is None)
    assert deleted == []
    del exported
    gc.collect()
    assert (deleted, exporter.deleted) == ([0], 1)


def test_what_cannot_be_waited_for_is_given_back_with_the_next():
    early, late, may_wait = Exporter(), Exporter(), []
    exported = read(early.capsule(), early, lambda: bool(may_wait))
    del exported
    gc.collect()
    assert early.deleted == 0
    may_wait.append(True)
    exported = read(late.capsule(), late)
    del exported
    gc.collect()
    assert (early.deleted, late.deleted) == (1, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wait_that_fails_keeps_no_memory():
    def fail():
        raise RuntimeError("the stream is gone")

    exporter = Exporter()
    exported = read(exporter.capsule(), exporter, fail)
    del exported
    gc.collect()
    assert exporter.deleted == 1


def test_memory_that_needs_no_giving_back_is_read_too():
    exporter = Exporter(deletes=False)
    assert read(exporter.capsule(), exporter).memory.shape == (6,)
    gc.collect()


@pytest.mark.parametrize("versioned", [False, True])
def test_a_capsule_is_read_once(versioned):
    capsule = Exporter(versioned=versioned).capsule()
    keep = read(capsule, None)
    assert repr(capsule).split('"')[1] == "used_" + NAMES[versioned].decode()
    with pytest.raises(TypeError, match="expected a capsule that nobody has read"):
        read(capsule, None)
    assert keep.memory.held is not None


def test_read_only_is_read_where_there_is_a_word_for_it():
    assert read(Exporter(flags=1).capsule(), None).memory.read_only
    assert not read(Exporter(flags=2).capsule(), None).memory.read_only


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": (2, 0)}, "version 2.0, expected at most 1"),
        ({"lanes": 4}, "4 lanes, expected float32"),
        ({"code": 3}, "code 3"),
        ({"code": 4, "bits": 8}, "code 4, 8 bits"),
        ({"code": 2, "bits": 8}, "code 2, 8 bits"),
    ],
)
def test_what_is_not_understood_stays_unread(changes, words):
    exporter = Exporter(**changes)
    capsule = exporter.capsule()
    with pytest.raises(TypeError, match=words):
        read(capsule, exporter)
    assert '"dltensor_versioned"' in repr(capsule)
    assert exporter.deleted == 0


@pytest.mark.parametrize("thing", [None, object(), np.zeros(3)])
def test_what_is_no_capsule_is_refused(thing):
    with pytest.raises(TypeError, match="DLPack: got"):
        read(thing, None)


@pytest.mark.parametrize(("stream", "asked"), [(None, 1), (0, 1), (4096, 4096)])
def test_the_exporter_is_told_the_stream_and_the_version(stream, asked):
    exporter = Exporter()
    export(exporter, stream)
    assert exporter.asked == [{"stream": asked, "max_version": (1, 0)}]


def test_tensors_of_pytorch_are_not_waited_for_since_passes_run_on_pytorch_s_stream():
    exporter = type("Tensor", (Exporter,), {"__module__": "torch"})()
    export(exporter, 4096)
    assert exporter.asked[0]["stream"] == -1


def test_an_exporter_from_before_versions_is_asked_without_one():
    class Old(Exporter):
        def __dlpack__(self, stream=None):
            return super().__dlpack__(stream=stream)

    exporter = Old(versioned=False)
    assert read(export(exporter, 4096), exporter).memory.address == 4096
    assert exporter.asked == [{"stream": 4096}]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_numpy_s_arrays(dtype):
    array = np.zeros(8, dtype)[2:]
    exported = read(export(array, None), array)
    assert exported.device == (CPU, 0)
    assert (exported.memory.address, exported.memory.shape) == (array.ctypes.data, (6,))
    assert exported.memory.dtype == array.dtype


def test_numpy_s_read_only_arrays():
    array = np.zeros(8)
    array.flags.writeable = False
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":  # which speaks the version that has no flags, and refuses
        with pytest.raises(BufferError, match="readonly"):
            export(array, None)
    else:
        assert read(export(array, None), array).memory.read_only


def test_numpy_gets_its_array_back():
    import sys

    array = np.zeros(8, "float32")
    counts = [sys.getrefcount(array)]  # an assertion would hold one more
    exported = read(export(array, None), None)
    counts.append(sys.getrefcount(array))
    del exported
    counts.append(sys.getrefcount(array))
    assert counts == [counts[0], counts[0] + 1, counts[0]]


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16"])
def test_pytorch_s_tensors(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor = torch.zeros(8, dtype=getattr(torch, name))[2:]
    exported = read(export(tensor, None), tensor)
    assert exported.device == (CPU, 0)
    assert (exported.memory.address, exported.memory.shape) == (tensor.data_ptr(), (6,))
    assert exported.memory.dtype.name == name


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_jax_s_arrays(name):
    numpy = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    array = numpy.zeros(8, name)
    exported = read(export(array, None), array)
    assert exported.device == (CPU, 0)
    assert (exported.memory.address, exported.memory.shape) == (array.unsafe_buffer_pointer(), (8,))
    assert exported.memory.dtype.name == name
