"""Compiled training: its functions, its gradients, and that neither threads nor fusing change a bit."""

import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, needs, plain
from naive_mlp import loss_and_gradient

from fastopt import RULES, Optimizer
from fastopt.backends.network import DenseSpec, NetworkSpec
from fastopt.elements import ACTIVATIONS, LOSSES, get_activation, get_loss

pytestmark = needs("numba")

CLOSE = {"float64": {"rtol": 1e-11, "atol": 1e-12}, "float32": {"rtol": 2e-4, "atol": 2e-5}}


@pytest.fixture(autouse=True)
def _six_threads(monkeypatch):
    """A training is cut into up to six shares, however many processors there are."""
    monkeypatch.setattr("fastopt.backends.numba.network.parallel_threads", lambda: 6)


def network(sizes, activation="relu", loss="softmax_cross_entropy", last="identity", kink=0.0):
    """Return a network whose hidden layers all have the activation."""
    layers, offset = [], 0
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        name = last if index == len(sizes) - 2 else activation
        layers.append(DenseSpec(inputs, outputs, offset, get_activation(name)))
        offset += (inputs + 1) * outputs
    return NetworkSpec(tuple(layers), get_loss(loss), kink)


def trainer(spec, rule="sgd", dtype="float32", threads=1):
    from fastopt.backends.numba.network import make_trainer

    return make_trainer(spec, RULES[rule].stages[0], plain(dtype), threads)


def problem(spec, rows, dtype, seed=0, labels=None):
    """Return parameters, inputs and targets."""
    rng = np.random.default_rng(seed)
    p = np.concatenate(
        [rng.normal(0, 1 / math.sqrt(d.inputs), (d.inputs + 1) * d.outputs) for d in spec.layers]
    ).astype(dtype)
    x = rng.standard_normal((rows, spec.layers[0].inputs)).astype(dtype)
    outputs = spec.layers[-1].outputs
    if labels is None:
        labels = spec.loss.name == "softmax_cross_entropy"
    y = rng.integers(0, outputs, rows) if labels else rng.random((rows, outputs)).astype(dtype)
    return p, x, y


def gradient(spec, p, x, y, rows=None, threads=1):
    """Return the mean loss, the number that is right, and the gradient, of which every element is written."""
    g = np.full_like(p, np.nan)
    rows = np.arange(len(x)) if rows is None else rows
    run = trainer(spec, dtype=p.dtype, threads=threads)
    before = p.copy()
    loss, right = run((p,), g, x, y, rows, len(rows), coefficients("sgd", p.dtype, 1), 0.0)
    assert bits(p) == bits(before)
    return loss / len(rows), right, g


def naive(spec, p, x, y):
    """Return what the slow network of the tests gives in float64."""
    weights, biases = [], []
    for d in spec.layers:
        end = d.offset + d.inputs * d.outputs
        weights.append(p[d.offset : end].reshape(d.inputs, d.outputs).astype(np.float64))
        biases.append(p[end : end + d.outputs].astype(np.float64))
    k = spec.layers[-1].outputs
    if spec.loss.name == "binary_cross_entropy":
        return several_binary(spec, weights, biases, x, y, k)
    loss, gradients = loss_and_gradient(
        weights, biases, x.astype(np.float64), y, [d.activation.name for d in spec.layers], spec.loss.name
    )
    return loss, np.concatenate([g.ravel() for g in gradients])


def several_binary(spec, weights, biases, x, y, k):
    """The slow network knows one binary output: the mean over the losses of each, as if the others were not there."""
    loss, total = 0.0, 0.0
    for j in range(k):
        w = [*weights[:-1], weights[-1][:, j : j + 1]]
        b = [*biases[:-1], biases[-1][j : j + 1]]
        names = [d.activation.name for d in spec.layers]
        one, parts = loss_and_gradient(w, b, x.astype(np.float64), y[:, j].astype(np.float64), names, spec.loss.name)
        last_w, last_b = np.zeros_like(weights[-1]), np.zeros_like(biases[-1])
        last_w[:, j : j + 1], last_b[j : j + 1] = parts[-2], parts[-1]
        loss += one / k
        total += np.concatenate([g.ravel() for g in (*parts[:-2], last_w, last_b)]) / k
    return loss, total


def coefficients(rule, dtype, steps, bias_decay=None):
    """Return the table of an optimizer's steps; the biases may decay otherwise."""
    hyper = RULES[rule].checked(HYPER[rule])
    table = []
    for step in range(1, steps + 1):
        decays = hyper["weight_decay"], hyper["weight_decay"] if bias_decay is None else bias_decay
        values = RULES[rule].coefficients_at(step, hyper)
        rules_own = tuple(values[name] for name in RULES[rule].stages[0].numbers)
        table.append([(1.0, math.inf, *decay_factors(RULES[rule], hyper["lr"], d), *rules_own) for d in decays])
    return np.array(table, dtype)


def decay_factors(rule, lr, decay):
    """Return what is added of the parameter to its gradient, and what the parameter is multiplied by."""
    return (0.0, 1.0 - lr * decay) if rule.decay == "decoupled" else (decay, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "low", "high", "bound"),
    [("exp", -87.0, 88.0, 2), ("sigmoid", -87.0, 100.0, 3), ("tanh", -20.0, 20.0, 3)],
)
def test_a_function_is_near_the_true_one(name, low, high, bound, dtype):
    run = elementwise(name)
    true = {"exp": np.exp, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}[name]
    spread = np.linspace(low, high, 200_001)
    if dtype == "float64" and name != "tanh":
        spread *= 8.0
    x = np.concatenate([spread, np.geomspace(1e-6, 1.0, 10_000), -np.geomspace(1e-6, 1.0, 10_000)]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = true(x.astype(np.longdouble))
    error = np.abs(run(x) - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert error.max() <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_functions_keep_nan_and_stay_finite(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], dtype)
    e, s, t = (elementwise(name)(x) for name in ("exp", "sigmoid", "tanh"))
    assert np.isnan([e[0], s[0], t[0]]).all()
    assert np.isfinite(e[1:]).all()
    assert (e[1:] > 0).all()
    np.testing.assert_allclose(s[1:], [1, 0, 1, 0, 0.5], atol=1e-30)
    np.testing.assert_array_equal(t[1:], [1, -1, 1, -1, 0])


def elementwise(name):
    """Return the function as one of arrays."""
    from numba import njit

    from fastopt import elements
    from fastopt.backends.numba.elements import scalar

    def run(x):
        word = getattr(elements, name)
        f = scalar(x.dtype)(elements.IN_DTYPE[x.dtype.name].get(word, word))

        @njit(error_model="numpy")
        def on_array(x):
            out = np.empty_like(x)
            for i in range(x.size):
                out[i] = f(x[i])
            return out

        return on_array(x)

    return run


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation_and_loss(activation, loss, dtype):
    spec = network((7, 33, 10), activation, loss)
    p, x, y = problem(spec, 9, dtype)
    check(spec, p, x, y)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("labels", [True, False])
def test_mean_squared_error_takes_labels_and_an_output_activation(activation, labels):
    spec = network((5, 12, 4), "tanh", "mean_squared_error", last=activation)
    check(spec, *problem(spec, 8, "float64", labels=labels))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 33])
@pytest.mark.parametrize("sizes", [(3, 2), (784, 10), (7, 1, 7, 10), (9, 33, 2), (17, 130, 33, 10), (130, 128, 65, 16)])
def test_gradients_of_odd_sizes(sizes, rows, dtype):
    spec = network(sizes, "sigmoid")
    check(spec, *problem(spec, rows, dtype))


@pytest.mark.parametrize("threads", [1, 2, 6])
@pytest.mark.parametrize(("sizes", "rows"), [((300, 150, 10), 300), ((70, 600, 33), 290), ((40, 513, 40), 65)])
def test_gradients_of_large_batches(sizes, rows, threads):
    spec = network(sizes, "leaky_relu")
    check(spec, *problem(spec, rows, "float64"), threads=threads)


def check(spec, p, x, y, threads=1):
    loss, right, g = gradient(spec, p, x, y, threads=threads)
    expected_loss, expected = naive(spec, p, x, y)
    close = CLOSE[str(p.dtype)]
    np.testing.assert_allclose(loss, expected_loss, **close)
    np.testing.assert_allclose(g, expected, **close)
    if spec.loss.name == "mean_squared_error":
        assert y.ndim == 1 or right == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_right_is_counted(loss):
    spec = network((3, 3), loss=loss)
    p = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
    x = np.array([[2.0, 1, 0], [0, 0, 1], [1, 1, -1], [-1, -2, -3]])
    labels = np.array([0, 1, 0, 0])
    y = (x >= 0).astype(float) if loss == "binary_cross_entropy" else labels
    if loss == "binary_cross_entropy":
        y[2, 2] = 1
    assert gradient(spec, p, x, y)[1] == 3


@pytest.mark.parametrize("kink", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_the_kink_is_the_slope_at_zero_alone(activation, slope, kink):
    spec = network((1, 3, 1), activation, "mean_squared_error", kink=kink)
    p = np.array([0.0, 1, -1, 0, 0, 0, 1, 1, 1, 0])  # z = 0, 1, -1
    *_, g = gradient(spec, p, np.ones((1, 1)), np.array([[-5.0]]))
    d = 2 * (1 - slope + 5)
    np.testing.assert_allclose(g[3:6], [d * (slope + kink * (1 - slope)), d, d * slope], rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_nan_in_the_data_stays_visible(activation, loss):
    spec = network((5, 40, 3), activation, loss)
    p, x, y = problem(spec, 20, "float32")
    x[13, 2] = np.nan
    value, _, g = gradient(spec, p, x, y)
    assert math.isnan(value)
    assert np.isnan(g).any()


def test_rows_are_taken_in_the_given_order():
    spec = network((20, 40, 10), "tanh")
    p, x, y = problem(spec, 30, "float32")
    rows = np.random.default_rng(1).permutation(30)[:17]
    whole, part = gradient(spec, p, x, y, rows), gradient(spec, p, x[rows], y[rows])
    assert whole[:2] == part[:2]
    assert bits(whole[2]) == bits(part[2])


FUSED = [
    ((784, 128, 10), "relu", "softmax_cross_entropy", 8),
    ((33, 300, 130, 7), "tanh", "mean_squared_error", 65),
    ((200, 520, 3), "sigmoid", "binary_cross_entropy", 70),
    ((784, 128, 10), "leaky_relu", "softmax_cross_entropy", 1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ["adam", "adamw", "sgd", "nesterov", "rmsprop_centered_momentum"])
@pytest.mark.parametrize(("sizes", "activation", "loss", "batch"), FUSED)
def test_fused_steps_give_the_bits_of_gradient_and_optimizer(sizes, activation, loss, batch, rule, dtype):
    spec = network(sizes, activation, loss)
    data = batch * 3 + (batch + 1) // 2
    p, x, y = problem(spec, data, dtype)
    rows = np.random.default_rng(2).permutation(data)
    optimizer = Optimizer(p.copy(), rule, backend="numba", threads=1, **HYPER[rule])
    table, g, run = coefficients(rule, dtype, 4), np.empty_like(p), trainer(spec, rule, dtype)
    loss_sum, right_sum = 0.0, 0
    for start in range(0, data, batch):
        step = rows[start : start + batch]
        buffers = optimizer.parameters, *optimizer.state.values()
        loss_sum, right = run(buffers, g, x, y, step, len(step), table, loss_sum)
        optimizer.step(g)
        right_sum += right
    states = [np.zeros_like(p) for _ in RULES[rule].states]
    fused = run((p, *states), None, x, y, rows, batch, table, 0.0)
    assert fused == (loss_sum, right_sum)
    assert bits(p, *states) == bits(optimizer.parameters, *optimizer.state.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7, 33, 300])
def test_threads_change_no_bit(batch, dtype):
    spec = network((300, 200, 70, 10), "tanh")
    p, x, y = problem(spec, 640, dtype)
    rows = np.random.default_rng(3).permutation(640)[: batch * 2 + 1]
    table = coefficients("adam", dtype, 3, bias_decay=0.0)
    results = []
    for threads in (1, 2, 3, 6):
        buffers = [p.copy(), np.zeros_like(p), np.zeros_like(p)]
        answer = trainer(spec, "adam", dtype, threads)(buffers, None, x, y, rows, batch, table, 0.0)
        results.append((answer, bits(*buffers)))
    assert all(result == results[0] for result in results)


def test_biases_take_their_own_coefficients():
    spec = network((30, 20, 5))
    p, x, y = problem(spec, 8, "float32")
    table = coefficients("sgd", "float32", 1, bias_decay=0.0)
    same = np.repeat(table[:, :1], 2, axis=1)
    own, shared = p.copy(), p.copy()
    for parameters, numbers in ((own, table), (shared, same)):
        trainer(spec)((parameters,), None, x, y, np.arange(8), 8, np.ascontiguousarray(numbers), 0.0)
    bias = np.concatenate([np.arange(600, 620), np.arange(720, 725)])
    weights = np.setdiff1d(np.arange(p.size), bias)
    assert bits(own[weights]) == bits(shared[weights])
    assert not np.array_equal(own[bias], shared[bias])


def test_a_batch_that_grows_and_shrinks_gives_the_same():
    spec = network((30, 20, 5))
    p, x, y = problem(spec, 50, "float32")
    run, table = trainer(spec), coefficients("sgd", "float32", 1)
    first, later, large = (np.empty_like(p) for _ in range(3))
    run((p,), first, x, y, np.arange(3), 3, table, 0.0)
    run((p,), large, x, y, np.arange(50), 50, table, 0.0)
    run((p,), later, x, y, np.arange(3), 3, table, 0.0)
    assert bits(first) == bits(later)
    assert bits(large) == bits(gradient(spec, p, x, y)[2])


SCRIPT = """\
import json
import numpy as np
from fastopt import RULES
from fastopt.backends.numba import network
from fastopt.backends.network import DenseSpec, NetworkSpec
from fastopt.backends import storage_of
from fastopt.elements import get_activation, get_loss

relu = get_activation("relu")
spec = NetworkSpec((DenseSpec(4, 3, 0, relu),), get_loss("softmax_cross_entropy"))
storage = storage_of(np.dtype("float32"), None, "nearest")
run = network.make_trainer(spec, RULES["adam"].stages[0], storage, 2)
buffers = [np.zeros(15, "float32") for _ in range(3)]
run(buffers, None, np.ones((2, 4), "float32"), np.array([0, 1]), np.arange(2), 2, np.ones((1, 2, 10), "float32"), 0.0)
codes = [*run._parts.values(), *run._activations[0]]
codes.append(network.compiled_pass(RULES["adam"].stages[0], storage))
print(json.dumps([code.cache_hits for code in codes]))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    first, second = (
        json.loads(
            subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True).stdout
        )
        for _ in range(2)
    )
    assert set(first) == {0}
    assert set(second) == {1}
