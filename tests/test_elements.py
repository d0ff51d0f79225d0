"""Activations and losses of a user's own, and what compilers make of those that are built in."""

import json
import math
import os
import pickle
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import DTYPES, bits, needs, needs_compiler

import fastopt
from fastopt import MLP, activation, clip, exp, fma, loss, sigmoid, where
from fastopt.cli import main
from fastopt.elements import ACTIVATIONS, LOSSES, ElementLoss, get_activation, get_loss

on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86-64 instructions")
FLOAT64 = r"\bv?(?:mul|add|sub|div)[sp]d\b|\bvfn?m(?:add|sub)\d{3}[sp]d\b|\bv?cvt(?:s[sd]2s[sd]|p[sd]2p[sd])\b"
PACKED = {"arithmetic": r"\bv?(?:add|mul)ps\b", "fma": r"\bvfn?m(?:add|sub)\d{3}ps\b"}
WITH_FMA = ("elu", "gelu", "sigmoid", "silu", "tanh")

OWN = """\
from fastopt import activation, clip, fma, loss, sigmoid, where

@activation
def swish(z):
    "z·σ(z)"
    return z * sigmoid(z)

@swish.derivative
def swish_slope(z, a):
    return fma(a, 1 - sigmoid(z), sigmoid(z))

@loss
def own_huber(z, y):
    e = abs(z - y)
    return where(e < 1, 0.5 * e * e, e - 0.5)

@own_huber.derivative
def own_huber_slope(z, y):
    return clip(z - y, -1, 1)
"""


@activation
def bent(z):
    """z/2 for z < 0, else z²"""
    return where(z < 0, 0.5 * z, z * z)


@bent.derivative
def bent_slope(z):
    return where(z < 0, 0.5, 2 * z)


@activation
def spelled(z):
    """z·tanh(exp(z))"""
    return z * math.tanh(math.exp(fastopt.clip(z, -9, 9)))


@spelled.derivative
def spelled_slope(z):
    e = math.exp(fastopt.clip(z, -9, 9))
    t = math.tanh(e)
    return fma(z * e, 1 - t * t, t)


@loss(probabilities=True)
def focal(z, y, p):
    """(y − σ(z))²"""
    return (y - p) * (y - p)


@focal.shared
def p(z):
    return 1 / (1 + exp(-z))


@focal.derivative
def focal_slope(y, p):
    return 2 * (p - y) * p * (1 - p)


@pytest.fixture(
    params=[
        pytest.param("numba", marks=needs("numba")),
        pytest.param("c", marks=[needs("c"), needs_compiler]),
    ]
)
def own_compiler(request):
    """The name of each backend that compiles what is a user's own."""
    return request.param


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def problem(probabilities=False, rows=33):
    rng = np.random.default_rng(0)
    y = rng.random((rows, 3)) if probabilities else 2 * rng.standard_normal((rows, 3))
    return rng.standard_normal((rows, 5)), y


def trained(backend, dtype="float64", **options):
    model = MLP((5, 40, 7, 3), dtype=dtype, seed=2, **options)
    x, y = problem(model.loss.from_logits)
    history = model.fit(x, y, epochs=3, batch_size=8, lr=0.01, backend=backend, progress=False)
    return model.parameters, history[-1].train_loss


@pytest.mark.parametrize("dtype", DTYPES)
def test_those_of_a_file_train_as_the_built_in_ones(own_file, dtype, own_compiler):
    own = {"activation": f"{own_file}:swish", "loss": f"{own_file}:own_huber"}
    built_in = {"activation": "silu", "loss": "huber"}
    given, expected = trained(own_compiler, dtype, **own), trained(own_compiler, dtype, **built_in)
    assert bits(given[0]) == bits(expected[0])
    assert given[1] == expected[1]


OWN_ONES = [{"activation": bent, "loss": focal}, {"activation": spelled, "loss": "huber"}]


@pytest.mark.parametrize("options", OWN_ONES)
def test_compiled_backends_train_as_the_reference(options, own_compiler):
    given, expected = (trained(backend, **options) for backend in (own_compiler, "reference"))
    np.testing.assert_allclose(given[0], expected[0], rtol=1e-9)
    assert given[1] == pytest.approx(expected[1], rel=1e-12)


@needs("numba", "c")
@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OWN_ONES)
def test_numba_and_c_train_to_the_same_bits(options, dtype):
    given, other = (trained(backend, dtype, **options) for backend in ("numba", "c"))
    assert bits(given[0]) == bits(other[0])
    assert given[1] == other[1]


@pytest.mark.parametrize("options", OWN_ONES)
def test_gradients_are_those_of_differences(options):
    model = MLP((5, 4, 3), dtype="float64", **options)
    x, y = problem(model.loss.from_logits, rows=6)
    model.loss_and_gradient(x, y)
    gradient = model.gradients.copy()
    for number, value in enumerate(model.parameters.tolist()):
        values = []
        for step in (1e-5, -1e-5):
            model.parameters[number] = value + step
            values.append(model.evaluate(x, y)[0])
        model.parameters[number] = value
        assert gradient[number] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_a_loss_of_values_takes_labels_and_one_of_probabilities_has_an_accuracy():
    x, y = problem(probabilities=True)
    assert 0 <= MLP((5, 3), loss=focal).evaluate(x, y.round())[1] <= 1
    assert 0 <= MLP((5, 3), loss="huber").evaluate(x, np.arange(33) % 3)[1] <= 1
    assert MLP((5, 3), loss="huber").evaluate(x, y)[1] is None


@needs("c")
def test_c_says_in_one_sentence_that_there_is_no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/cc")

    @activation
    def new(z):
        return 2 * z

    @new.derivative
    def new_slope(a):
        return 2 + 0 * a

    @loss
    def newer(z, y):
        return z * y

    @newer.derivative
    def newer_slope(y):
        return y

    for options in ({"activation": new, "loss": "huber"}, {"activation": "relu", "loss": newer}):
        name = next(value.name for value in options.values() if not isinstance(value, str))
        with pytest.raises(ValueError, match=rf"(activation|loss) {name} is not built in, and CC=.* names no program"):
            trained("c", **options)


@needs("c")
def test_c_has_every_built_in_one_and_no_other():
    from fastopt._c import ffi, lib

    assert all(lib.fastopt_find_activation(name.encode()) != ffi.NULL for name in ACTIVATIONS)
    assert all(lib.fastopt_find_loss(name.encode()) != ffi.NULL for name in LOSSES)
    assert lib.fastopt_find_activation(b"huber") == lib.fastopt_find_loss(b"relu") == ffi.NULL


@pytest.mark.parametrize(
    ("find", "name", "error", "message"),
    [
        (get_activation, "rleu", ValueError, "unknown activation 'rleu': did you mean 'relu'?"),
        (get_loss, "hubert", ValueError, "unknown loss 'hubert': did you mean 'huber'?"),
        (get_loss, 3, ValueError, "unknown loss 3: known are"),
        (get_activation, "{file}:swich", ValueError, "unknown activation in .*own.py 'swich': did you mean 'swish'?"),
        (get_loss, "{file}:none", ValueError, "unknown loss in .*own.py 'none'"),
        (get_loss, "nowhere.py:mine", FileNotFoundError, "loss 'nowhere.py:mine': there is no file nowhere.py"),
    ],
)
def test_a_name_that_is_not_there(find, name, error, message, own_file):
    with pytest.raises(error, match=message):
        find(name.format(file=own_file) if isinstance(name, str) else name)


def test_a_file_with_one_needs_no_name(own_file):
    assert get_activation(str(own_file)).name == "swish"
    assert get_loss(str(own_file)).name == "own_huber"


def test_what_is_missing_or_wrong_is_said():
    @activation
    def lonely(z):
        return z

    @loss
    def strange(z, y, weight):
        return weight * (z - y)

    @strange.derivative
    def strange_slope(z):
        return z

    with pytest.raises(
        TypeError, match=r"activation lonely: it has no derivative; decorate one with @lonely.derivative"
    ):
        MLP((2, 3, 2), activation=lonely)
    with pytest.raises(TypeError, match=r"activation lonely: its derivative got \(x\), expected parameters among z, a"):
        lonely.derivative(lambda x: x)
    with pytest.raises(TypeError, match=r"activation <lambda>: got \(x, y\), expected \(z\)"):
        activation(lambda x, y: x)
    with pytest.raises(TypeError, match=r"loss strange: strange got \(z, y, weight\), expected parameters among z, y"):
        MLP((2, 2), loss=strange)


@needs("numba")
def test_what_does_not_compile_is_said_in_one_sentence():
    @activation
    def listed(z):
        return [z][0] + len("text").bit_length()

    @listed.derivative
    def slope(a):
        return a

    with pytest.raises(
        TypeError, match=r"activation listed does not compile for float64: .*It is arithmetic"
    ) as caught:
        trained("numba", activation=listed, loss="huber")
    assert "\n" not in str(caught.value)


def test_pickling_finds_them_again():
    for element in (bent, focal, *ACTIVATIONS.values(), *LOSSES.values()):
        assert pickle.loads(pickle.dumps(element)) in (element,)
    model = pickle.loads(pickle.dumps(MLP((2, 3, 2), activation=[bent], loss=focal)))
    assert (model.layers[0].activation.element, model.loss.element) == (bent, focal)


@needs("numba")
def test_the_command_line_takes_them(own_file, tmp_path, capsys):
    x, y = problem()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    words = ["train", "--quiet", "--data", tmp_path / "data.npz", "--regression", "--hidden", 4, "--batch-size", 8]
    words += ["--activation", f"{own_file}:swish", "--loss", f"{own_file}:own_huber", "--out", tmp_path / "run"]
    assert main([*map(str, words), "--epochs", "2"]) == 0
    assert main(["train", "--quiet", "--resume", str(tmp_path / "run"), "--epochs", "3"]) == 0


SCRIPT = """\
import json, sys
import numpy as np
from fastopt import MLP
from fastopt.backends.numba.elements import compiled_activation, compiled_loss
from fastopt.elements import get_activation, get_loss

codes = [*compiled_activation(get_activation(sys.argv[1]), np.dtype("float32"))]
codes.append(compiled_loss(get_loss(sys.argv[1]), np.dtype("float32")))
print(json.dumps([code.cache_hits for code in codes]))
"""


@needs("numba")
def test_a_second_process_compiles_nothing_until_the_file_changes(own_file, tmp_path):
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }

    def hits():
        command = [sys.executable, "-c", SCRIPT, str(own_file)]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    assert [hits(), hits()] == [[0, 0, 0], [1, 1, 1]]
    own_file.write_text(OWN.replace("-1, 1", "-2, 2"), encoding="utf-8")
    assert hits() == [0, 0, 0]


def assembly(compile_uncached, *arguments):
    """Return the float32 instructions; compiled here, since what comes from the cache has none."""
    from numba.core.ccallback import CFunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CFunc, "enable_caching", lambda function: None)
        codes = compile_uncached.__wrapped__(*arguments, np.dtype("float32"))
    return [code._library.get_asm_str() for code in (codes if isinstance(codes, tuple) else (codes,))]


@needs("numba")
@on_x86
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_loops_over_activations_are_packed_and_have_no_float64(name):
    from fastopt.backends.numba.elements import compiled_activation

    activate, derive = assembly(compiled_activation, ACTIVATIONS[name])
    assert re.search(PACKED["fma" if name in WITH_FMA else "arithmetic"], activate)
    assert re.search(PACKED["arithmetic"], derive)
    assert re.findall(FLOAT64, activate + derive) == []
    assert re.findall(r"copysignf?\b|\bexpf?\b|\btanhf?\b", activate + derive) == []  # no call of a library


@needs("numba")
@on_x86
@pytest.mark.parametrize("name", [name for name, element in LOSSES.items() if isinstance(element, ElementLoss)])
def test_derivatives_of_losses_are_packed(name):
    from fastopt.backends.numba.elements import compiled_loss

    (text,) = assembly(compiled_loss, LOSSES[name])
    assert re.search(PACKED["fma" if name == "binary_cross_entropy" else "arithmetic"], text)


def test_the_decorators_leave_usable_functions():
    assert bent.value(3.0) == 9.0
    assert bent_slope(-1.0) == bent.slope(-1.0) == 0.5
    assert clip(fma(2.0, 3.0, sigmoid(0.0)), 0.0, 7.0) == 6.5
