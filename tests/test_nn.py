"""The MLP, its losses, activations and first weights: known values, extreme values, memory and error messages."""

from __future__ import annotations

import copy
import json
import math
import pickle
import tracemalloc

import numpy as np
import pytest

import fastopt.nn
from fastopt import MLP
from fastopt.nn import ACTIVATIONS, INITIALISERS, LOSSES, LossScratch, Workspace, get_activation, get_loss

DTYPES = ("float32", "float64")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(37, 5)), rng.integers(0, 3, 37)


def _targets(loss, n_outputs, rows, rng):
    if loss == "softmax_cross_entropy":
        return rng.integers(0, n_outputs, rows)
    return rng.uniform(0.0, 1.0, (rows, n_outputs))


def _loss(name, outputs, targets):
    outputs = np.asarray(outputs)
    loss = get_loss(name)
    gradient = np.empty_like(outputs)
    checked = loss.check_targets(targets, outputs.shape[1], outputs.dtype)
    return loss.loss_and_gradient(outputs, checked, gradient), gradient


# Activations


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activation_of_extreme_values(name, dtype):
    largest = float(np.finfo(dtype).max)
    z = np.array([-largest, -1e4, -800.0, -90.0, 0.0, 90.0, 800.0, 1e4, largest], dtype)
    with np.errstate(all="raise", under="ignore"):
        output = get_activation(name).forward(z)
        gradient = get_activation(name).backward(np.ones_like(z), z, output)
    assert np.isfinite(output).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_of_huge_logits_does_not_even_underflow(dtype):
    with np.errstate(all="raise"):
        output = get_activation("sigmoid").forward(np.array([-1e4, 0.0, 1e4], dtype))
    np.testing.assert_allclose(output, [0.0, 0.5, 1.0], atol=1e-34)


def test_activation_values():
    gate = (1 + math.tanh(math.sqrt(2 / math.pi) * (2 + 0.044715 * 8))) / 2
    expected = {
        "elu": [math.expm1(-2), 0.0, 2.0],
        "gelu": [-2 * (1 - gate), 0.0, 2 * gate],
        "identity": [-2.0, 0.0, 2.0],
        "leaky_relu": [-0.02, 0.0, 2.0],
        "relu": [0.0, 0.0, 2.0],
        "sigmoid": [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))],
        "silu": [-2 / (1 + math.exp(2)), 0.0, 2 / (1 + math.exp(-2))],
        "tanh": [math.tanh(-2), 0.0, math.tanh(2)],
    }
    assert sorted(expected) == sorted(ACTIVATIONS)
    for name, values in expected.items():
        np.testing.assert_allclose(get_activation(name).forward(np.array([-2.0, 0.0, 2.0])), values, rtol=2e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_keeps_nan_visible(name):
    assert np.isnan(get_activation(name).forward(np.array([np.nan]))).all()


# Losses


def test_loss_values():
    assert _loss("softmax_cross_entropy", [[0.0, 0.0, 0.0, 0.0]], [2])[0] == pytest.approx(math.log(4))
    assert _loss("softmax_cross_entropy", [[0.0, math.log(3.0)]], [0])[0] == pytest.approx(math.log(4))
    assert _loss("binary_cross_entropy", [[0.0, math.log(3.0)]], [[1, 0]])[0] == pytest.approx(math.log(8) / 2)
    assert _loss("binary_cross_entropy", [[0.0]], [0.3])[0] == pytest.approx(math.log(2))
    assert _loss("mean_squared_error", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 4.0]])[0] == 13 / 4
    assert _loss("mean_squared_error", [[1.0, 2.0], [3.0, 4.0]], [1, 0])[0] == (1 + 1 + 4 + 16) / 4


def test_loss_gradients():
    np.testing.assert_allclose(
        _loss("softmax_cross_entropy", [[0.0, 0.0], [0.0, 0.0]], [0, 1])[1] * 4, [[-1, 1], [1, -1]]
    )
    np.testing.assert_allclose(_loss("binary_cross_entropy", [[0.0, 0.0]], [[1, 0.5]])[1] * 4, [[-1, 0]])
    np.testing.assert_allclose(_loss("mean_squared_error", [[3.0, 1.0]], [[1.0, 0.5]])[1], [[2.0, 0.5]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_cross_entropy_of_huge_logits(size, dtype):
    with np.errstate(all="raise", under="raise" if size < 1e5 else "ignore"):
        loss, gradient = _loss("softmax_cross_entropy", np.array([[size, -size], [-size, size]], dtype), [0, 0])
        assert loss == pytest.approx(size, rel=1e-6)
        np.testing.assert_allclose(gradient, [[0, 0], [-0.5, 0.5]], atol=1e-34)
        loss, gradient = _loss("binary_cross_entropy", np.array([[size], [-size], [size]], dtype), [1, 0, 0])
        assert loss == pytest.approx(size / 3, rel=1e-6)
        np.testing.assert_allclose(gradient, [[0], [0], [1 / 3]], rtol=1e-6, atol=1e-34)
        loss, _ = _loss("mean_squared_error", np.array([[size], [-size]], dtype), [0.0, 0.0])
        assert loss == pytest.approx(size * size, rel=1e-6)


def test_softmax_of_the_largest_float32_logits():
    largest = np.finfo(np.float32).max
    with np.errstate(all="raise", under="ignore"):
        loss, gradient = _loss("softmax_cross_entropy", np.array([[largest, -largest]]), [1])
    assert loss == 2 * float(largest)
    np.testing.assert_array_equal(gradient, [[1, -1]])


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_may_overwrite_the_outputs(name):
    rng = np.random.default_rng(3)
    outputs = rng.normal(size=(7, 4))
    targets = _targets(name, 4, 7, rng)
    loss, gradient = _loss(name, outputs, targets)
    assert get_loss(name).loss_and_gradient(outputs, targets, outputs) == loss
    np.testing.assert_array_equal(outputs, gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_nan_is_nan(name):
    outputs = np.array([[np.nan, 0.0]])
    assert math.isnan(get_loss(name).loss_and_gradient(outputs, np.array([0]), np.empty_like(outputs)))


def test_loss_is_summed_in_float64():
    outputs = np.full((100_000, 1), 0.1, np.float32)
    loss, _ = _loss("mean_squared_error", outputs, np.zeros(100_000))
    assert loss == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-12)


def test_correct():
    outputs = np.array([[2.0, 1.0], [0.0, 3.0], [-1.0, -2.0]])
    assert get_loss("softmax_cross_entropy").correct(outputs, np.array([0, 1, 1])) == 2
    assert get_loss("binary_cross_entropy").correct(outputs, np.array([[1, 1], [0, 1], [0.4, 0.0]])) == 2
    squared = get_loss("mean_squared_error")
    for one_hot in ([0, 1, 1], [[1, 0], [0, 1], [0, 1]]):
        assert squared.correct(outputs, squared.check_targets(one_hot, 2, outputs.dtype)) == 2
    assert squared.correct(outputs, squared.check_targets(outputs, 2, outputs.dtype)) is None


def test_predictions_and_probabilities():
    outputs = np.array([[0.0, math.log(3.0)], [5.0, 5.0]])
    softmax, binary, squared = map(get_loss, ("softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error"))
    np.testing.assert_array_equal(softmax.predict(outputs), [1, 0])
    np.testing.assert_allclose(softmax.probabilities(outputs), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(binary.predict(np.array([[-1.0], [0.0]])), [0, 1])
    np.testing.assert_allclose(binary.probabilities(outputs[:, 1:]), [0.75, 1 / (1 + math.exp(-5))])
    np.testing.assert_array_equal(squared.predict(outputs), outputs)
    with pytest.raises(ValueError, match="gives values and no probabilities"):
        squared.probabilities(outputs)


@pytest.mark.parametrize(
    ("loss", "targets", "n_outputs", "error", "message"),
    [
        ("softmax_cross_entropy", [0, 3, 1, 4], 3, ValueError, r"2 labels out of range, the first \(3\) at row 1; exp"),
        ("softmax_cross_entropy", [0, -1], 3, ValueError, r"the first \(-1\) at row 1; expected 0 to 2"),
        ("softmax_cross_entropy", [0.0, 1.0], 3, TypeError, r"dtype float64, expected integer class indices"),
        ("softmax_cross_entropy", [[0, 0, 1]], 3, ValueError, r"shape \(1, 3\).*y.argmax\(axis=1\)"),
        ("softmax_cross_entropy", [[0], [1]], 3, ValueError, r"y.reshape\(-1\)"),
        ("softmax_cross_entropy", [], 3, TypeError, "expected integer"),
        ("softmax_cross_entropy", np.empty(0, int), 3, ValueError, "at least one target"),
        ("softmax_cross_entropy", ["cat", "dog"], 3, TypeError, "expected real numbers"),
        ("binary_cross_entropy", [0.5, 1.5], 1, ValueError, "got 1.5 at row 1, column 0, expected numbers from 0 to 1"),
        ("binary_cross_entropy", [0.5, np.nan], 1, ValueError, r"1 of 2 values.*first \(nan\) at row 1, column 0"),
        ("binary_cross_entropy", [0, 1], 2, ValueError, r"got shape \(2,\), expected \(rows, 2\)"),
        ("binary_cross_entropy", [1j], 1, TypeError, "dtype complex128"),
        ("mean_squared_error", [[0.0, np.inf], [np.nan, 0.0]], 2, ValueError, r"2 of 4 values.*row 0, column 1"),
        ("mean_squared_error", [1e300], 1, ValueError, "NaN or Inf in float32"),
        ("mean_squared_error", [0.5, 1.0], 2, ValueError, r"expected \(rows, 2\)"),
        ("mean_squared_error", [[[0.5]]], 1, ValueError, r"expected \(rows, 1\) or \(rows,\)"),
        ("mean_squared_error", [0, 2], 2, ValueError, "expected 0 to 1, since there are 2 outputs"),
    ],
)
def test_wrong_targets(loss, targets, n_outputs, error, message):
    with pytest.raises(error, match=message):
        get_loss(loss).check_targets(targets, n_outputs, np.dtype("float32"))


def test_booleans_and_small_integers_are_class_indices():
    softmax = get_loss("softmax_cross_entropy")
    for targets in (np.array([True, False]), np.array([1, 0], np.uint8)):
        checked = softmax.check_targets(targets, 2, np.dtype("float32"))
        assert checked.dtype == np.intp
        assert checked.tolist() == [1, 0]


# First weights

FIRST_WEIGHTS = {
    ("he", "float32"): ("0x1.0d68f4p+0", "-0x1.2857b4p-1", "0x1.fcc97cp-1"),
    ("he", "float64"): ("0x1.0d68f31145426p+0", "-0x1.2857b3753d899p-1", "0x1.fcc97be6609c1p-1"),
    ("glorot", "float32"): ("0x1.a15e3cp-1", "-0x1.cb178ap-2", "0x1.67c44cp-1"),
    ("glorot", "float64"): ("0x1.a15e3cb297cdep-1", "-0x1.cb178a4cc2ed5p-2", "0x1.67c44b1a5f413p-1"),
    ("lecun", "float32"): ("0x1.7d00d2p-1", "-0x1.a3177ap-2", "0x1.67c44cp-1"),
    ("lecun", "float64"): ("0x1.7d00d2e0a7a7ep-1", "-0x1.a317799038ce0p-2", "0x1.67c44b1a5f413p-1"),
}


@pytest.mark.parametrize(("init", "dtype"), FIRST_WEIGHTS)
def test_first_weights_never_change(init, dtype):
    model = MLP((3, 2, 2), init=init, seed=7, dtype=dtype)
    found = [*model["layers.0.weight"].ravel()[:2].tolist(), model["layers.1.weight"][1, 1].item()]
    assert found == [float.fromhex(word) for word in FIRST_WEIGHTS[init, dtype]]


@pytest.mark.parametrize(("init", "bound"), [("he", 0.1), ("glorot", math.sqrt(6 / 1000)), ("lecun", math.sqrt(0.005))])
def test_first_weights_fill_their_bounds(init, bound):
    assert INITIALISERS[init](600, 400) == pytest.approx(bound)
    model = MLP((600, 400), init=init, seed=2**64 - 1)
    weight = model["layers.0.weight"]
    assert 0.999 * bound < weight.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= weight.min() < -0.999 * bound
    assert abs(weight.mean(dtype=float)) < 0.01 * bound
    assert not model["layers.0.bias"].any()


def test_seeds_differ():
    assert not np.array_equal(MLP((4, 3), seed=0).parameters, MLP((4, 3), seed=1).parameters)


# The network


@pytest.mark.parametrize("dtype", DTYPES)
def test_named_views_share_the_flat_buffer(dtype):
    model = MLP((4, 3, 2), dtype=dtype)
    assert [(s.name, s.shape, s.group) for s in model.layout] == [
        ("layers.0.weight", (4, 3), "weight"),
        ("layers.0.bias", (3,), "bias"),
        ("layers.1.weight", (3, 2), "weight"),
        ("layers.1.bias", (2,), "bias"),
    ]
    assert model.parameters.dtype == model.gradients.dtype == model.dtype == np.dtype(dtype)
    model.parameters[:] = np.arange(model.layout.size)
    assert model["layers.1.bias"].tolist() == [21, 22]
    assert model.layers[0].bias.tolist() == [12, 13, 14]
    model.layers[1].weight[0, 0] = -1
    assert model.parameters[15] == -1
    assert np.shares_memory(model.layers[0].weight_gradient, model.gradients)


def test_assignment_writes_into_the_flat_buffer():
    model = MLP((2, 2))
    buffer = model.parameters
    model.parameters *= 0.0
    model.parameters = np.arange(6.0)
    assert model.parameters is buffer
    assert model["layers.0.bias"].tolist() == [4, 5]
    with pytest.raises(ValueError, match=r"parameters: got shape \(5,\), expected \(6,\)"):
        model.parameters = np.zeros(5)


def test_forward_is_the_formula(data):
    x, _ = data
    model = MLP((5, 4, 3), activation="tanh", dtype="float64")
    model.parameters += 0.01
    hidden = np.tanh(x @ model["layers.0.weight"] + model["layers.0.bias"])
    expected = hidden @ model["layers.1.weight"] + model["layers.1.bias"]
    outputs = model.forward(x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(x), expected.argmax(axis=1))
    np.testing.assert_allclose(model.predict_probabilities(x).sum(axis=1), 1.0)
    model.forward(-x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12)


def test_forward_of_many_rows():
    x = np.random.default_rng(1).normal(size=(2500, 5))
    model = MLP((5, 3), dtype="float64")
    np.testing.assert_allclose(model.forward(x), x @ model["layers.0.weight"], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_of_any_size_in_any_order(loss):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(40, 5)), _targets(loss, 3, 40, rng)
    model = MLP((5, 6, 3), loss=loss, dtype="float64")
    for rows in (7, 40, 1, 2, 39):
        fresh = MLP((5, 6, 3), loss=loss, dtype="float64")
        assert model.loss_and_gradient(x[:rows], y[:rows]) == fresh.loss_and_gradient(x[:rows], y[:rows])
        np.testing.assert_array_equal(model.gradients, fresh.gradients)
    single = np.array([(model.loss_and_gradient(x[i : i + 1], y[i : i + 1]), *model.gradients) for i in range(40)])
    assert model.loss_and_gradient(x, y) == pytest.approx(single[:, 0].mean())
    np.testing.assert_allclose(model.gradients, single[:, 1:].mean(axis=0), atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_evaluate_is_the_loss_in_one_batch(loss):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(41, 5)), _targets(loss, 3, 41, rng)
    model = MLP((5, 6, 3), loss=loss, dtype="float64")
    expected = model.loss_and_gradient(x, y)
    gradients = model.gradients.copy()
    for batch_size in (1, 10, 41, 1000):
        mean, accuracy = model.evaluate(x, y, batch_size=batch_size)
        assert mean == pytest.approx(expected, rel=1e-12)
        if loss == "softmax_cross_entropy":
            assert accuracy == np.mean(model.predict(x) == y)
        assert (accuracy is None) == (loss in ("huber", "mean_squared_error"))
    np.testing.assert_array_equal(model.gradients, gradients)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_is_near_float64(activation, data):
    models = [MLP((5, 8, 8, 3), activation=activation, dtype=dtype, seed=3) for dtype in DTYPES]
    losses = [model.loss_and_gradient(*data) for model in models]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert np.abs(models[0].gradients - models[1].gradients).max() < 1e-5 * np.abs(models[1].gradients).max()


def test_step_on_gathered_rows(data):
    model = MLP((5, 6, 3))
    x, y = model.check_data(*data)
    rows = np.array([5, 3, 30, 3])
    expected = model.loss_and_gradient(x[rows], y[rows])
    gradients = model.gradients.copy()
    model.gradients[:] = np.nan
    assert model.workspace.gather(x, y, rows) == 4
    loss, correct = model.step_gradient(4, count_correct=True)
    assert loss == expected
    assert correct == np.count_nonzero(model.predict(x[rows]) == y[rows])
    np.testing.assert_array_equal(model.gradients, gradients)
    assert model.step_gradient(4)[1] is None
    model.gradients[:] = np.nan
    assert model.batch_loss(4) == (loss, correct)
    assert np.isnan(model.gradients).all()


@pytest.mark.parametrize(
    ("loss", "activation"),
    [*((loss, "relu") for loss in LOSSES), *(("mean_squared_error", activation) for activation in ACTIVATIONS)],
)
def test_a_step_allocates_nothing_that_grows_with_the_batch(loss, activation):
    rows = 200_000
    rng = np.random.default_rng(0)
    model = MLP((8, 8, 4), loss=loss, activation=activation, kink=0.5)
    x, y = model.check_data(rng.normal(size=(rows, 8)), _targets(loss, 4, rows, rng))
    order = np.arange(rows)
    bound = rows  # one byte for each row; NumPy's buffers for a change of dtype take 128 KiB whatever the batch is
    tracemalloc.start()
    try:
        for warm in (False, True):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            batch = model.workspace.gather(x, y, order)
            model.step_gradient(batch, count_correct=True)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert not warm or peak < bound
    finally:
        tracemalloc.stop()


def test_targets_of_another_form_replace_the_buffer():
    model = MLP((2, 2), loss="mean_squared_error")
    x = np.eye(2)
    by_index, by_row = model.loss_and_gradient(x, [1, 0]), model.loss_and_gradient(x, [[0.0, 1.0], [1.0, 0.0]])
    assert by_index == by_row
    assert model.loss_and_gradient(x, [[0.0, 1.0], [1.0, 0.5]]) != by_row
    assert model.workspace.targets.shape == (2, 2)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_1e4_are_harmless(activation, dtype, data):
    x, y = data
    model = MLP((5, 6, 3), activation=activation, dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        assert math.isfinite(model.loss_and_gradient(np.sign(x) * 1e4, y))
    assert np.isfinite(model.gradients).all()


def test_data_of_other_kinds_is_converted():
    model = MLP((2, 3))
    expected = model.forward(np.array([[1.0, 0.0]], np.float32))
    for x in ([[1, 0]], np.array([[1, 0]], np.uint8), np.array([[True, False]]), np.array([[1, 9, 0]])[:, ::2]):
        np.testing.assert_array_equal(model.forward(x), expected)


def test_logistic_regression_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    model = MLP((2, 1), loss="binary_cross_entropy")
    for _ in range(300):
        model.loss_and_gradient(x, y)
        model.parameters -= model.gradients
    loss, accuracy = model.evaluate(x, y)
    assert loss < 0.15
    assert accuracy > 0.97
    assert model.predict(x).shape == model.predict_probabilities(x).shape == (200,)


def test_config_goes_through_json():
    model = MLP((4, 3, 2), activation=("tanh",), output_activation="sigmoid", loss="mean_squared_error",
                init="lecun", seed=np.int64(5), dtype=np.float64, kink=1)  # fmt: skip
    again = MLP.from_config(json.loads(json.dumps(model.config)))
    assert again.config == model.config
    np.testing.assert_array_equal(again.parameters, model.parameters)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_its_own_buffer_and_views_into_it(duplicate):
    model = MLP((4, 3))
    model.parameters += 1
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.parameters, model.parameters)
    twin["layers.0.bias"][:] = 9
    assert twin.parameters[-1] == 9
    assert model.parameters[-1] == 1


def test_repr():
    assert repr(MLP((784, 128, 10))) == "MLP(784-128-10 relu, softmax_cross_entropy, 101,770 float32 parameters)"
    model = MLP((3, 2, 2, 1), activation=("tanh", "relu"), output_activation="sigmoid", loss="mean_squared_error")
    assert repr(model) == "MLP(3-2-2-1 tanh/relu → sigmoid, mean_squared_error, 17 float32 parameters)"
    assert repr(MLP((3, 2))) == "MLP(3-2, softmax_cross_entropy, 8 float32 parameters)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": (4,)}, ValueError, "expected at least inputs and outputs"),
        ({"sizes": (4, 0, 2)}, ValueError, r"sizes\[1\]: got 0, expected a whole number from 1"),
        ({"sizes": (4, 2.5)}, TypeError, r"sizes\[1\]: got 2.5"),
        ({"sizes": 4}, TypeError, "sizes: got 4"),
        ({"sizes": "48"}, TypeError, "sizes: got '48'"),
        ({"activation": "rleu"}, ValueError, "unknown activation 'rleu': did you mean 'relu'"),
        ({"activation": ("relu", "tanh")}, ValueError, "got 2 names, expected 1, one for each hidden layer"),
        ({"sizes": (4, 2), "activation": "rleu"}, ValueError, "did you mean 'relu'"),
        ({"loss": "crossentropy"}, ValueError, "unknown loss"),
        ({"init": "hee"}, ValueError, "unknown initialiser 'hee': did you mean 'he'"),
        ({"output_activation": "sigmoid"}, ValueError, "softmax_cross_entropy works from logits"),
        ({"output_activation": "sigmoid", "loss": "binary_cross_entropy"}, ValueError, "expected 'identity', since"),
        ({"sizes": (4, 1)}, ValueError, "softmax of one number is always 1"),
        ({"dtype": "float16"}, ValueError, "dtype: got 'float16', expected 'float32' or 'float64'"),
        ({"dtype": "flaot"}, ValueError, "dtype: got 'flaot'"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": 0.5}, TypeError, "seed: got 0.5"),
        ({"kink": 2}, ValueError, "kink: got 2, expected a number from 0 to 1"),
        ({"kink": math.nan}, ValueError, "kink: got nan"),
        ({"kink": "left"}, TypeError, "kink: got 'left'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        MLP(**{"sizes": (4, 3, 2), **arguments})


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 5)), ValueError, r"x: got shape \(3, 5\), expected \(rows, 4\)"),
        (np.zeros(4), ValueError, r"for one sample pass x.reshape\(1, -1\)"),
        (np.zeros((0, 4)), ValueError, "x: got no rows"),
        ([[0, 0, 0, 0], [0, np.nan, 0, -np.inf]], ValueError, r"2 of 8 values.*\(nan\) at row 1, column 1"),
        ([[np.inf, 0, 0, -np.inf]], ValueError, "2 of 4 values"),
        ([[1e300, 0, 0, 0]], ValueError, "NaN or Inf in float32"),
        ([["a", "b", "c", "d"]], TypeError, "x: got list of dtype <U1, expected real numbers"),
        (np.zeros((1, 4), complex), TypeError, "dtype complex128"),
        (np.zeros((1, 4), object), TypeError, "dtype object"),
    ],
)
@pytest.mark.parametrize("method", ["forward", "predict", "predict_probabilities", "evaluate", "loss_and_gradient"])
def test_wrong_inputs(method, x, error, message):
    model = MLP((4, 3))
    targets = ([0] * len(x),) if method in ("evaluate", "loss_and_gradient") else ()
    with pytest.raises(error, match=message):
        getattr(model, method)(x, *targets)


def test_wrong_calls():
    model = MLP((4, 3))
    with pytest.raises(ValueError, match="y: got 2 rows, expected 3, one for each row of x"):
        model.loss_and_gradient(np.zeros((3, 4)), [0, 1])
    with pytest.raises(ValueError, match=r"unknown parameter 'layers.0.weights': did you mean 'layers.0.weight'"):
        model["layers.0.weights"]
    with pytest.raises(ValueError, match="batch: got 4 rows, expected 1 to 0"):
        model.step_gradient(4)
    with pytest.raises(ValueError, match="batch_size: got 0"):
        model.evaluate(np.zeros((3, 4)), [0, 1, 2], batch_size=0)


def test_huge_finite_inputs_are_no_error():
    largest = float(np.finfo(np.float64).max)
    x, _ = MLP((2, 2), dtype="float64").check_data([[largest, largest]], [0])
    assert (x == largest).all()


def test_workspace_keeps_its_arrays_for_smaller_batches():
    workspace = Workspace((3, 2), np.dtype("float32"))
    workspace.load(np.zeros((8, 3)), np.zeros(8, np.intp))
    held = (workspace.inputs, workspace.targets, workspace.outputs[0], workspace.deltas[0])
    workspace.load(np.zeros((5, 3)), np.zeros(5, np.intp))
    assert all(
        a is b
        for a, b in zip(
            held, (workspace.inputs, workspace.targets, workspace.outputs[0], workspace.deltas[0]), strict=True
        )
    )
    assert LossScratch.like(workspace.outputs[0]).flags.shape[1:] == (8, 2)


def test_exported_names_are_sorted():
    constants, others = (sorted(n for n in fastopt.nn.__all__ if n.isupper() is upper) for upper in (True, False))
    assert fastopt.nn.__all__ == constants + others
    assert all(hasattr(fastopt.nn, name) for name in fastopt.nn.__all__)
