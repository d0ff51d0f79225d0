"""The gradients of every activation and loss against central differences, and the subgradients at a kink."""

from __future__ import annotations

import numpy as np
import pytest

from fastopt import MLP
from fastopt.nn import ACTIVATIONS, LOSSES, get_activation

HIDDEN = {1: (), 2: (5,), 3: (5, 4)}
BATCH, N_IN = 6, 3
STEP = 1e-5
KINKED = ("relu", "leaky_relu")


def _targets(loss, n_outputs, rng):
    if loss == "softmax_cross_entropy":
        return rng.integers(0, n_outputs, BATCH)
    return rng.uniform(0.0, 1.0, (BATCH, n_outputs))


def _model(loss, n_outputs, depth, **options):
    return MLP((N_IN, *HIDDEN[depth], n_outputs), loss=loss, dtype="float64", **options)


def _away_from_kinks(model, x):
    """Whether no weighted sum is so near zero that a difference step could cross it."""
    inputs = x
    for layer in model.layers:
        sums = inputs @ layer.weight + layer.bias
        if layer.activation.name in KINKED and np.abs(sums).min() < 1e-3:
            return False
        inputs = layer.activation.forward(sums)
    return True


def _problem(loss, n_outputs, depth, **options):
    """Return a model with biases and data whose sums are away from kinks."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        model = _model(loss, n_outputs, depth, seed=seed, **options)
        model.parameters += rng.normal(0.0, 0.1, model.parameters.size)
        x = rng.normal(size=(BATCH, N_IN))
        if _away_from_kinks(model, x):
            return model, x, _targets(loss, n_outputs, rng)
    raise AssertionError("no data away from kinks")


def _differences(model, x, y):
    """Return the central difference of the loss by each parameter."""
    slopes = np.empty_like(model.parameters)
    for number, value in enumerate(model.parameters.tolist()):
        model.parameters[number] = value + STEP
        above = model.evaluate(x, y)[0]
        model.parameters[number] = value - STEP
        below = model.evaluate(x, y)[0]
        model.parameters[number] = value
        slopes[number] = (above - below) / (2 * STEP)
    return slopes


def _assert_gradient(model, x, y):
    model.loss_and_gradient(x, y)
    gradient = model.gradients.copy()
    expected = _differences(model, x, y)
    assert np.abs(gradient - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.abs(expected).max() > 1e-4


@pytest.mark.parametrize("depth", HIDDEN)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_activation(activation, loss, depth):
    _assert_gradient(*_problem(loss, 3, depth, activation=activation))


@pytest.mark.parametrize("depth", HIDDEN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_output_activation(activation, depth):
    _assert_gradient(*_problem("mean_squared_error", 2, depth, activation="tanh", output_activation=activation))


@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("activation", KINKED)
def test_kink_does_not_matter_away_from_zero(activation, kink):
    _assert_gradient(*_problem("mean_squared_error", 2, 3, activation=activation, kink=kink))


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error"])
def test_one_output_and_1d_targets(loss):
    model, x, y = _problem(loss, 1, 2)
    _assert_gradient(model, x, y[:, 0])


def test_class_indices_with_mean_squared_error():
    model, x, _ = _problem("mean_squared_error", 3, 2)
    _assert_gradient(model, x, np.array([0, 1, 2, 2, 1, 0]))


def test_one_activation_for_each_hidden_layer():
    _assert_gradient(*_problem("softmax_cross_entropy", 3, 3, activation=("tanh", "sigmoid")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_subgradient_at_zero(activation, slope, kink, dtype):
    z = np.array([-1.0, -0.0, 0.0, 1.0], dtype)
    function = get_activation(activation)
    output = function.forward(z)
    derivative = function.backward(np.ones_like(output), z, output, kink=kink)
    at_zero = slope + kink * (1 - slope)
    np.testing.assert_allclose(derivative, [slope, at_zero, at_zero, 1.0], rtol=1e-6)


@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_subgradient_reaches_the_parameters(activation, slope, kink):
    model = MLP((1, 1, 1), activation=activation, loss="mean_squared_error", dtype="float64", kink=kink)
    model.parameters[:] = [1.0, 0.0, 1.0, 0.0]  # the hidden sum is x, the output its activation
    model.loss_and_gradient([[0.0]], [-1.0])
    assert model.gradients[1] == pytest.approx(2.0 * (slope + kink * (1 - slope)))
