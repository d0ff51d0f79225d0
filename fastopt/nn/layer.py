"""A dense layer: f(x·W + b), with W, b and their gradients as views into flat buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activations import Activation

__all__ = ["Layer"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One dense layer. Writing into its arrays writes into the network.

    Attributes
    ----------
    weight, weight_gradient
        Views of shape (n_in, n_out).
    bias, bias_gradient
        Views of shape (n_out,).
    activation
        The function f, applied to each output.
    kink
        The subgradient at zero, for an f that has none of its own there.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    weight_gradient: NDArray[Any]
    bias_gradient: NDArray[Any]
    activation: Activation
    kink: float = 0.0

    def forward(self, inputs: NDArray[Any], weighted: NDArray[Any], outputs: NDArray[Any]) -> None:
        """Write inputs·W + b into `weighted` and f of it into `outputs`, which may be the same array."""
        np.matmul(inputs, self.weight, out=weighted)
        np.add(weighted, self.bias, out=weighted)
        self.activation.forward(weighted, outputs)

    def backward(
        self,
        inputs: NDArray[Any],
        weighted: NDArray[Any],
        outputs: NDArray[Any],
        delta: NDArray[Any],
        input_delta: NDArray[Any] | None,
    ) -> None:
        """Overwrite the gradients of W and b, and `input_delta` unless it is None.

        On entry `delta` is the derivative of the loss by `outputs`, on return the derivative by inputs·W + b.
        """
        self.activation.backward(delta, weighted, outputs, self.kink)
        np.matmul(inputs.T, delta, out=self.weight_gradient)
        np.sum(delta, axis=0, out=self.bias_gradient)
        if input_delta is not None:
            np.matmul(delta, self.weight.T, out=input_delta)

    def __repr__(self) -> str:
        n_in, n_out = self.weight.shape
        return f"Layer({n_in}-{n_out} {self.activation.name})"
