"""The network: dense layers over one flat buffer of parameters, and one of gradients; forward and backward in NumPy.

It knows neither optimizers nor training: :class:`fastopt.MLP` adds these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import elements
from .._errors import unknown_name, whole_number
from ..buffers import DTYPES, Layout, aligned_zeros
from .activations import Activation, get_activation
from .checks import check_inputs, check_same_length
from .initialisers import check_seed, draw_uniform, get_initialiser
from .layer import Layer
from .losses import Loss, get_loss
from .workspace import Workspace

__all__ = ["Network"]

_INFERENCE_BATCH = 1024
_ONE_ACTIVATION = (str, elements.Activation)


class Network:
    """Dense layers and a loss: everything of :class:`fastopt.MLP` except training.

    :class:`fastopt.MLP` documents the arguments and attributes.

    Examples
    --------
    >>> network = Network((4, 8, 3), seed=1)
    >>> network
    Network(4-8-3 relu, softmax_cross_entropy, 67 float32 parameters)
    >>> x, y = np.eye(4), np.array([0, 1, 2, 0])
    >>> before = network.loss_and_gradient(x, y)
    >>> network.parameters -= 0.1 * network.gradients
    >>> network.loss_and_gradient(x, y) < before
    True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | elements.Activation | Sequence[str | elements.Activation] = "relu",
        output_activation: str | elements.Activation = "identity",
        loss: str | elements.Loss = "softmax_cross_entropy",
        init: str = "he",
        seed: int = 0,
        dtype: str = "float32",
        kink: float = 0.0,
    ) -> None:
        self.sizes = _check_sizes(sizes)
        self.dtype = _check_dtype(dtype)
        self.loss = get_loss(loss)
        activations = _check_activations(activation, output_activation, len(self.sizes) - 2)
        _check_outputs(self.loss, activations[-1], self.sizes[-1])
        self.config: dict[str, Any] = {
            "sizes": list(self.sizes),
            "activation": activation if isinstance(activation, _ONE_ACTIVATION) else list(activation),
            "output_activation": output_activation,
            "loss": loss,
            "init": init,
            "seed": check_seed(seed),
            "dtype": self.dtype.name,
            "kink": _check_kink(kink),
        }
        self.layout = _layout(self.sizes)
        self._parameters = aligned_zeros(self.layout.size, self.dtype)
        self._gradients = aligned_zeros(self.layout.size, self.dtype)
        self._views = self.layout.views(self._parameters)
        self.layers = self._make_layers(activations)
        self.workspace = Workspace(self.sizes, self.dtype, [f.element.keeps_input for f in activations])
        self._initialise()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the network with this :attr:`config` and its initial weights."""
        return cls(**config)

    @property
    def parameters(self) -> NDArray[Any]:
        """The flat buffer of all weights and biases."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: NDArray[Any]) -> None:
        _overwrite("parameters", self._parameters, values)

    @property
    def gradients(self) -> NDArray[Any]:
        """The flat buffer of the gradients, overwritten by each step."""
        return self._gradients

    @gradients.setter
    def gradients(self, values: NDArray[Any]) -> None:
        _overwrite("gradients", self._gradients, values)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the named segment of the parameters, a view of the flat buffer."""
        if name not in self._views:
            raise unknown_name("parameter", name, self._views)
        return self._views[name]

    def check_data(self, x: object, y: object) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return inputs and targets in the dtype and form that :class:`Workspace` takes.

        Raises
        ------
        TypeError
            A value is not a real number, or a class index is not an integer.
        ValueError
            A shape that does not fit, no rows, NaN or Inf, or a target out of range.
        """
        inputs = check_inputs(x, self.sizes[0], self.dtype)
        targets = self.loss.check_targets(y, self.sizes[-1], self.dtype)
        check_same_length(inputs, targets)
        return inputs, targets

    def step_gradient(self, batch: int, *, count_correct: bool = False) -> tuple[float, int | None]:
        """Overwrite :attr:`gradients` from the first `batch` rows of the workspace, without checking the data.

        Returns
        -------
        loss
            The mean over the batch.
        correct
            How many rows were predicted correctly; None without `count_correct`, or where the loss cannot tell.

        Raises
        ------
        ValueError
            `batch` is 0, or larger than the number of rows in the workspace.

        Examples
        --------
        >>> network = Network((4, 3))
        >>> x, y = network.check_data(np.eye(4), [0, 1, 2, 0])
        >>> batch = network.workspace.gather(x, y, rows=np.array([3, 1]))
        >>> loss, correct = network.step_gradient(batch, count_correct=True)
        """
        loss, correct = self.batch_loss(batch, count_correct=count_correct)
        self._backward(batch)
        return loss, correct

    def batch_loss(self, batch: int, *, count_correct: bool = True) -> tuple[float, int | None]:
        """Return what :meth:`step_gradient` returns, without changing :attr:`gradients`."""
        workspace = self.workspace
        if not 0 < batch <= min(workspace.capacity, len(workspace.targets)):
            raise ValueError(f"batch: got {batch} rows, expected 1 to {workspace.capacity}; load or gather them first")
        outputs, targets = self._forward(batch), workspace.targets[:batch]
        correct = self.loss.correct(outputs, targets, workspace.loss_scratch) if count_correct else None
        delta = workspace.deltas[-1][:batch]
        return self.loss.loss_and_gradient(outputs, targets, delta, workspace.loss_scratch), correct

    def loss_and_gradient(self, x: object, y: object) -> float:
        """Overwrite :attr:`gradients` from one batch and return its mean loss; raises like :meth:`check_data`."""
        return self.step_gradient(self.workspace.load(*self.check_data(x, y)))[0]

    def forward(self, x: object) -> NDArray[Any]:
        """Return the outputs for each row of `x` as a new array: logits where the loss takes logits.

        Raises
        ------
        TypeError
            `x` does not hold real numbers.
        ValueError
            The shape of `x` is not (rows, sizes[0]), or `x` has no rows, or contains NaN or Inf.
        """
        inputs = check_inputs(x, self.sizes[0], self.dtype)
        outputs = np.empty((len(inputs), self.sizes[-1]), self.dtype)
        for part in _batches(len(inputs), _INFERENCE_BATCH):
            outputs[part] = self._forward(self.workspace.load(inputs[part]))
        return outputs

    def predict(self, x: object) -> NDArray[Any]:
        """Return predictions: class indices, 0 or 1 for each output, or values, depending on the loss.

        The shape is (rows,) for class indices and for a single output, otherwise (rows, outputs). Raises like
        :meth:`forward`.
        """
        return self.loss.predict(self.forward(x))

    def predict_probabilities(self, x: object) -> NDArray[Any]:
        """Return the softmax of each row, or the sigmoid of each output, of shape (rows,) for a single output.

        Raises
        ------
        ValueError
            The loss is not a cross-entropy. Otherwise like :meth:`forward`.
        """
        return self.loss.probabilities(self.forward(x))

    def evaluate(self, x: object, y: object, batch_size: int = _INFERENCE_BATCH) -> tuple[float, float | None]:
        """Return the mean loss and the accuracy, None where the loss cannot tell; raises like :meth:`check_data`.

        :attr:`gradients` do not change.
        """
        batch_size = whole_number("batch_size", batch_size)
        inputs, targets = self.check_data(x, y)
        parts = _batches(len(inputs), batch_size)
        return self.evaluate_batches(self.workspace.load(inputs[part], targets[part]) for part in parts)

    def evaluate_batches(self, batches: Iterable[int]) -> tuple[float, float | None]:
        """Return the mean loss and the accuracy over batches, like :meth:`evaluate`.

        Parameters
        ----------
        batches
            Gives the number of rows of each batch after it has put that batch into the workspace.
        """
        total, right, rows = 0.0, 0, 0
        correct: int | None = None
        for batch in batches:
            loss, correct = self.batch_loss(batch)
            total += loss * batch
            right += correct or 0
            rows += batch
        return total / rows, None if correct is None else right / rows

    def _forward(self, batch: int) -> NDArray[Any]:
        workspace = self.workspace
        inputs = workspace.inputs[:batch]
        for number, layer in enumerate(self.layers):
            outputs = workspace.outputs[number][:batch]
            layer.forward(inputs, workspace.weighted[number][:batch], outputs)
            inputs = outputs
        return inputs

    def _backward(self, batch: int) -> None:
        workspace = self.workspace
        for number in reversed(range(len(self.layers))):
            inputs = workspace.outputs[number - 1] if number else workspace.inputs
            self.layers[number].backward(
                inputs[:batch],
                workspace.weighted[number][:batch],
                workspace.outputs[number][:batch],
                workspace.deltas[number][:batch],
                workspace.deltas[number - 1][:batch] if number else None,
            )

    def _make_layers(self, activations: tuple[Activation, ...]) -> tuple[Layer, ...]:
        gradients = self.layout.views(self._gradients)
        kink = self.config["kink"]
        return tuple(
            Layer(
                self[f"{name}.weight"],
                self[f"{name}.bias"],
                gradients[f"{name}.weight"],
                gradients[f"{name}.bias"],
                f,
                kink,
            )
            for name, f in ((f"layers.{number}", f) for number, f in enumerate(activations))
        )

    def _initialise(self) -> None:
        bound = get_initialiser(self.config["init"])
        bits = np.random.Philox(key=self.config["seed"])
        for layer in self.layers:
            draw_uniform(bits, layer.weight, bound(*layer.weight.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        # Copied one by one, the views would no longer share memory with the flat buffer.
        return _rebuild, (type(self), self.config, self._parameters)

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        names = "/".join(dict.fromkeys(layer.activation.name for layer in self.layers[:-1]))
        last = self.layers[-1].activation.name
        shape = " ".join(filter(None, (sizes, names, "" if last == "identity" else f"→ {last}")))
        return f"{type(self).__name__}({shape}, {self.loss.name}, {self.layout.size:,} {self.dtype.name} parameters)"


def _rebuild(cls: type[Network], config: Mapping[str, Any], parameters: NDArray[Any]) -> Network:
    network = cls.from_config(config)
    np.copyto(network.parameters, parameters)
    return network


def _overwrite(name: str, buffer: NDArray[Any], values: NDArray[Any]) -> None:
    """Write into the buffer, which the layers view; ``network.parameters *= 2`` also assigns, and so ends here."""
    if np.shape(values) != buffer.shape:
        raise ValueError(f"{name}: got shape {np.shape(values)}, expected {buffer.shape}")
    np.copyto(buffer, values, casting="same_kind")


def _layout(sizes: tuple[int, ...]) -> Layout:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes[f"layers.{number}.weight"] = (n_in, n_out)
        shapes[f"layers.{number}.bias"] = (n_out,)
    return Layout(shapes, groups={name: name.rpartition(".")[2] for name in shapes})


def _batches(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _check_sizes(sizes: object) -> tuple[int, ...]:
    if isinstance(sizes, (str, bytes)) or not isinstance(sizes, (Sequence, np.ndarray)):
        raise TypeError(f"sizes: got {sizes!r}, expected a sequence of integers such as (784, 128, 10)")
    if len(sizes) < 2:
        raise ValueError(f"sizes: got {tuple(sizes)}, expected at least inputs and outputs, such as (784, 10)")
    return tuple(whole_number(f"sizes[{number}]", size) for number, size in enumerate(sizes))


def _check_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        name = ""
    if name not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, expected {' or '.join(map(repr, DTYPES))}")
    checked: np.dtype[Any] = np.dtype(name)
    return checked


def _check_kink(kink: Any) -> float:
    try:
        number = float(kink)
    except (TypeError, ValueError):
        raise TypeError(f"kink: got {kink!r}, expected a number from 0 to 1") from None
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError(f"kink: got {kink!r}, expected a number from 0 to 1")
    return number


def _check_activations(
    hidden: str | elements.Activation | Sequence[str | elements.Activation],
    output: str | elements.Activation,
    n_hidden: int,
) -> tuple[Activation, ...]:
    names = [hidden] * n_hidden if isinstance(hidden, _ONE_ACTIVATION) else list(hidden)
    if len(names) != n_hidden:
        raise ValueError(
            f"activation: got {len(names)} names, expected {n_hidden}, one for each hidden layer; "
            "the last layer's is output_activation"
        )
    if isinstance(hidden, _ONE_ACTIVATION):
        get_activation(hidden)  # a wrong name is an error without hidden layers too
    return tuple(get_activation(name) for name in (*names, output))


def _check_outputs(loss: Loss, output_activation: Activation, n_outputs: int) -> None:
    if loss.from_logits and not output_activation.element.is_identity:
        raise ValueError(
            f"output_activation: got {output_activation.name!r}, expected 'identity', since {loss.name} works from "
            "logits, where it cannot overflow; predict_probabilities gives the probabilities"
        )
    if loss.name == "softmax_cross_entropy" and n_outputs < 2:
        raise ValueError(
            "sizes: got 1 output, expected at least 2, since the softmax of one number is always 1; "
            "for two classes and one output use loss='binary_cross_entropy'"
        )
