"""Keras on TensorFlow: ``compile(jit_compile=True)`` and ``fit``."""

from __future__ import annotations

import os

from fastopt.bench.cases import TrainCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array

__all__ = ["Trainer"]

_STEPS_A_CALL = 64


class Trainer(base.Trainer):
    """``fit`` with several steps an execution, which Keras recommends for small models."""

    def __init__(self, case: TrainCase, weights: list[Array], x: Array, y: Array) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported
        import keras

        keras.utils.clear_session()
        hidden = [keras.layers.Dense(size, activation="relu") for size in case.sizes[1:-1]]
        self._model = keras.Sequential([keras.Input((case.sizes[0],)), *hidden, keras.layers.Dense(case.sizes[-1])])
        self._model.set_weights(weights)
        self._model.compile(
            optimizer=keras.optimizers.Adam(case.lr, epsilon=1e-8),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
            steps_per_execution=min(_STEPS_A_CALL, len(x) // case.batch),
        )
        self._x, self._y, self._batch = x, y, case.batch

    def run(self, epochs: int) -> None:
        self._model.fit(self._x, self._y, batch_size=self._batch, epochs=epochs, shuffle=False, verbose=0)

    def weights(self) -> list[Array]:
        return list(self._model.get_weights())
