"""The five training programs of the field's textbooks: each follows an independent implementation, and each learns."""

from __future__ import annotations

import naive_mlp
import numpy as np
import oracle
import pytest

from fastopt import MLP
from fastopt.data import digits, permutation, split, with_replacement


def enlarged_digits():
    """The digits as 28x28 images: each pixel three times as wide and high, and a frame of two."""
    train, test = split(digits(), 0.2, seed=0)
    images = [np.kron(part.inputs.reshape(-1, 8, 8), np.ones((3, 3))) / 16 for part in (train, test)]
    return [
        (np.pad(image, ((0, 0), (2, 2), (2, 2))).reshape(len(image), -1), part.targets)
        for image, part in zip(images, (train, test), strict=True)
    ]


def small_digits():
    return [(part.inputs / 16, part.targets) for part in split(digits(), 0.2, seed=0)]


def two_clouds():
    """Two overlapping clouds of points in ten dimensions."""
    rng = np.random.default_rng(7)
    y = np.arange(400) % 2
    x = rng.standard_normal((400, 10)) + np.where(y, 0.6, -0.6)[:, None]
    return [(x[:300], y[:300]), (x[300:], y[300:])]


def product_sign():
    """The four points (±.5, ±.5) and whether the product of the two is positive."""
    x = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    y = np.array([1.0, 0.0, 0.0, 1.0])
    return [(x, y), (x, y)]


PROGRAMS = {
    "784-10-10-10 softmax, Adam, batch 32": {
        "data": enlarged_digits,
        "model": {"sizes": (784, 10, 10, 10)},
        "fit": {"rule": "adam", "lr": 3e-3, "batch_size": 32, "epochs": 30},
        "accuracy": 0.90,
    },
    "10-1 sigmoid, binary cross-entropy, SGD with EMA momentum, clipped by value": {
        "data": two_clouds,
        "model": {"sizes": (10, 1), "loss": "binary_cross_entropy"},
        "fit": {"rule": "momentum_ema", "lr": 0.01, "beta": 0.9, "clip_value": 0.5, "batch_size": 10, "epochs": 20},
        "accuracy": 0.93,
    },
    "2-3-1 sigmoid, the sign of a product, one random sample a step": {
        "data": product_sign,
        "model": {
            "sizes": (2, 3, 1),
            "activation": "sigmoid",
            "output_activation": "sigmoid",
            "loss": "mean_squared_error",
            "init": "glorot",
            "seed": 1,
        },
        "fit": {"rule": "sgd", "lr": 5.0, "batch_size": 1, "sampling": "random", "epochs": 3000},
        "loss": 0.01,
    },
    "64-10 squared error, scaled and clipped gradient": {
        "data": small_digits,
        "model": {"sizes": (64, 10), "loss": "mean_squared_error"},
        "fit": {"rule": "scaled_clip", "eps": 0.2, "lr": 0.05, "batch_size": 32, "epochs": 30},
        "accuracy": 0.90,
    },
    "784-128-10 SGD, global norm clipped at 1, one sample a step": {
        "data": enlarged_digits,
        "model": {"sizes": (784, 128, 10)},
        "fit": {"rule": "sgd", "lr": 0.01, "max_norm": 1.0, "batch_size": 1, "epochs": 6},
        "accuracy": 0.93,
    },
}

STEPS = 12


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_program_learns(program):
    """Once each, with the default backend: that backends agree is shown by the first steps, below, and by bits."""
    (x, y), test = program["data"]()
    model = MLP(**program["model"])
    model.fit(x, y, progress=False, **program["fit"])
    loss, accuracy = model.evaluate(*test)
    if "accuracy" in program:
        assert accuracy >= program["accuracy"]
    else:
        assert loss < program["loss"]


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_program_follows_an_independent_implementation(program, backend):
    """The first steps in float64, by one-sample loops and the oracle of the rules, in the order that the seed gives."""
    (x, y), _ = program["data"]()
    fit = dict(program["fit"], epochs=1)
    size, sampling = fit["batch_size"], fit.get("sampling", "shuffle")
    rows = STEPS * size
    if sampling == "random":
        x, y = np.tile(x, (STEPS, 1)), np.tile(y, STEPS)
    x, y = x[:rows], y[:rows]
    model = MLP(**program["model"], dtype="float64")
    expected = model.parameters.copy()
    draw = {"shuffle": permutation, "random": lambda n, **key: with_replacement(n, n, **key)}[sampling]
    order = draw(len(x), seed=5, stream=1)
    rule = fit["rule"]
    hyper = {key: fit[key] for key in ("lr", "beta", "eps") if key in fit}
    if rule == "adam":
        hyper |= {"betas": (0.9, 0.999), "eps": 1e-8}
    limits = {key: fit[key] for key in ("clip_value", "max_norm") if key in fit}
    activations = [layer.activation.name for layer in model.layers]
    state = {}
    for step in range(len(x) // size):
        chosen = order[step * size : (step + 1) * size]
        views = list(model.layout.views(expected).values())
        _, gradients = naive_mlp.loss_and_gradient(
            views[::2], views[1::2], x[chosen], y[chosen], activations, model.loss.name
        )
        flat = np.concatenate([g.ravel() for g in gradients])
        expected = oracle.step(rule, expected, flat, state, step + 1, hyper, **limits)
    model.fit(x, y, backend=backend, progress=False, seed=5, **fit)
    np.testing.assert_allclose(model.parameters, expected, rtol=1e-9, atol=1e-11)
