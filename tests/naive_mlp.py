"""A second MLP, slow and obvious, in float64 and one sample at a time, to hold the fast one against."""

from __future__ import annotations

import numpy as np


def _gelu_tanh(z):
    return np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


def _gelu_slope(z):
    return (1 - _gelu_tanh(z) ** 2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)


ACTIVATIONS = {
    "relu": (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "identity": (lambda z: z, np.ones_like),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "silu": (lambda z: z / (1 + np.exp(-z)), lambda z: (1 + np.exp(-z) + z * np.exp(-z)) / (1 + np.exp(-z)) ** 2),
    "gelu": (lambda z: z / 2 * (1 + _gelu_tanh(z)), lambda z: (1 + _gelu_tanh(z)) / 2 + z / 2 * _gelu_slope(z)),
}


def softmax_cross_entropy(z, label):
    p = np.exp(z) / np.exp(z).sum()
    return -np.log(p[label]), p - np.eye(len(z))[label]


def binary_cross_entropy(z, y):
    p = 1 / (1 + np.exp(-z[0]))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)), np.array([p - y])


def _values(z, y):
    return np.eye(len(z))[y] if np.issubdtype(type(y), np.integer) and len(z) > 1 else np.atleast_1d(y)


def mean_squared_error(z, y):
    y = _values(z, y)
    return np.mean((z - y) ** 2), 2 * (z - y) / len(z)


def huber(z, y):
    y = _values(z, y)
    e = np.abs(z - y)
    return np.mean(np.where(e < 1, e**2 / 2, e - 0.5)), np.sign(z - y) * np.minimum(e, 1) / len(z)


LOSSES = {f.__name__: f for f in (softmax_cross_entropy, binary_cross_entropy, mean_squared_error, huber)}


def loss_and_gradient(weights, biases, x, y, activations, loss):
    """Return the mean loss over the rows of x, and the gradient of each weight and bias, W and b in turn."""
    total, gradients = 0.0, [np.zeros_like(a) for pair in zip(weights, biases, strict=True) for a in pair]
    for row, target in zip(x, y, strict=True):
        inputs, sums = [row], []
        for w, b, name in zip(weights, biases, activations, strict=True):
            sums.append(inputs[-1] @ w + b)
            inputs.append(ACTIVATIONS[name][0](sums[-1]))
        value, delta = LOSSES[loss](inputs[-1], target)
        total += value
        for layer in reversed(range(len(weights))):
            delta = delta * ACTIVATIONS[activations[layer]][1](sums[layer])
            gradients[2 * layer] += np.outer(inputs[layer], delta)
            gradients[2 * layer + 1] += delta
            delta = weights[layer] @ delta
    return total / len(x), [g / len(x) for g in gradients]
