"""What the tests of the core share: the backends that are here, hyper-parameters for every rule, random buffers."""

import signal

import numpy as np
import pytest
from simulated import pytest_collect_file, pytest_pycollect_makemodule  # noqa: F401 - hooks

from fastopt.backends import BACKENDS, why_missing

DTYPES = ("float32", "float64")

# No value is a default, so that a hyper-parameter that is ignored shows. The decay is a power of two: g + λp is then
# rounded once in every dtype, and cancellation in it does not blur the comparison.
HYPER = {
    "sgd": {"lr": 0.03, "weight_decay": 0.0625},
    "scaled_clip": {"lr": 0.03, "eps": 0.7, "weight_decay": 0.0625},
    "momentum": {"lr": 0.03, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.0625},
    "nesterov": {"lr": 0.03, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.0625},
    "momentum_ema": {"lr": 0.03, "beta": 0.7, "weight_decay": 0.0625},
    "momentum_velocity": {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.0625},
    "nesterov_velocity": {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.0625},
    "adagrad": {"lr": 0.03, "lr_decay": 0.1, "eps": 1e-3, "weight_decay": 0.0625},
    "rmsprop": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.0625},
    "rmsprop_momentum": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.0625},
    "rmsprop_centered": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.0625},
    "rmsprop_centered_momentum": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.0625},
    "adam": {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.0625},
    "adamw": {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.0625},
}


def needs(*backends):
    """Skip a test where one of the backends is missing, and say why."""
    reasons = [reason for reason in map(why_missing, backends) if reason]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


@pytest.fixture(params=[pytest.param(name, marks=needs(name)) for name in BACKENDS if name != "cuda"])
def backend(request):
    """The name of each backend of NumPy arrays."""
    return request.param


@pytest.fixture(params=[pytest.param(name, marks=needs(name)) for name in ("numba", "c")])
def compiled(request):
    """The name of each backend that computes in the dtype of the buffers."""
    return request.param


@pytest.fixture(autouse=True)
def _interrupts_are_not_ignored():
    """Who runs the tests in the background may ignore Ctrl-C, and processes hand that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
