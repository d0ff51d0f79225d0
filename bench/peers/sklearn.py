"""scikit-learn's MLPClassifier, an epoch a call of ``partial_fit``."""

from __future__ import annotations

import numpy as np

from fastopt.bench.cases import TrainCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array

__all__ = ["Trainer"]


class Trainer(base.Trainer):
    """``MLPClassifier(solver="adam", alpha=0, shuffle=False)``."""

    def __init__(self, case: TrainCase, weights: list[Array], x: Array, y: Array) -> None:
        from sklearn.neural_network import MLPClassifier

        self._x, self._y = x, y
        self._model = MLPClassifier(
            case.sizes[1:-1],
            solver="adam",
            alpha=0.0,
            batch_size=case.batch,
            learning_rate_init=case.lr,
            shuffle=False,
        )
        self._model.partial_fit(x[: case.batch], y[: case.batch], classes=np.arange(case.sizes[-1]))
        # Set the weights. Without an optimizer, the next call makes a new one over them.
        self._model.coefs_ = [weight.copy() for weight in weights[::2]]
        self._model.intercepts_ = [bias.copy() for bias in weights[1::2]]
        del self._model._optimizer

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self._model.partial_fit(self._x, self._y)

    def weights(self) -> list[Array]:
        pairs = zip(self._model.coefs_, self._model.intercepts_, strict=True)
        return [array.copy() for pair in pairs for array in pair]
