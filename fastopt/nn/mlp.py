"""A multi-layer perceptron whose weights and biases are views into one flat buffer, as are their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name, whole_number
from ..backends import get_backend
from ..buffers import DTYPES, Layout, aligned_zeros
from ..data import Dataset
from ..optim import Optimizer
from ..rules import Rule
from .activations import Activation, get_activation
from .checks import check_inputs, check_same_length
from .initialisers import check_seed, draw_uniform, get_initialiser
from .interrupt import stop_on_interrupt
from .layer import Layer
from .losses import Loss, get_loss
from .progress import ProgressBar
from .training import EpochResult, Training
from .waiting import GETTING_READY, Waiting
from .workspace import Workspace

__all__ = ["MLP"]

_INFERENCE_BATCH = 1024


class MLP:
    """Dense layers a₀ = x, aₗ₊₁ = f(aₗ·Wₗ + bₗ), and a loss on the last of them.

    Parameters
    ----------
    sizes
        Inputs, hidden units of each layer, outputs: ``(784, 128, 10)``. Two numbers make a linear model.
    activation
        Name of the hidden layers' activation, or one name for each hidden layer.
    output_activation
        Name of the last layer's activation. The cross-entropies take logits, hence ``"identity"``.
    loss
        Name of the loss.
    init
        Name of the initialiser of the weights; biases start at zero.
    seed
        Number in [0, 2⁶⁴) that the first weights depend on, on every machine in the same way.
    dtype
        ``"float32"`` or ``"float64"``, of the parameters and all arithmetic. Losses are summed in float64.
    kink
        The subgradient of relu and leaky_relu at exactly zero: 0 is the slope to the left, 1 the slope to the right.

    Attributes
    ----------
    layout
        The segments ``"layers.0.weight"``, ``"layers.0.bias"``, …, in the groups ``"weight"`` and ``"bias"``.
    parameters, gradients
        Flat buffers of that layout. An assignment writes into them; they are never replaced.
    layers
        The layers, whose arrays are views into the flat buffers.
    workspace
        The memory that a step works in.
    config
        The arguments above as a plain dict, for :meth:`from_config`.

    Raises
    ------
    ValueError
        A size that is not positive, a name that is not in its table, or arguments that do not go together.
    TypeError
        An argument of the wrong type.

    Notes
    -----
    One model is for one thread at a time, since its workspace is.

    Examples
    --------
    >>> model = MLP((4, 8, 3), seed=1)
    >>> model
    MLP(4-8-3 relu, softmax_cross_entropy, 67 float32 parameters)
    >>> x, y = np.eye(4), np.array([0, 1, 2, 0])
    >>> before = model.loss_and_gradient(x, y)
    >>> model.parameters -= 0.1 * model.gradients
    >>> model.loss_and_gradient(x, y) < before
    True
    >>> model["layers.1.bias"].shape
    (3,)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "relu",
        output_activation: str = "identity",
        loss: str = "softmax_cross_entropy",
        init: str = "he",
        seed: int = 0,
        dtype: str = "float32",
        kink: float = 0.0,
    ) -> None:
        self.sizes = _check_sizes(sizes)
        self.dtype = _check_dtype(dtype)
        self.loss = get_loss(loss)
        activations = _check_activations(activation, output_activation, len(self.sizes) - 2)
        _check_outputs(self.loss, output_activation, self.sizes[-1])
        self.config: dict[str, Any] = {
            "sizes": list(self.sizes),
            "activation": activation if isinstance(activation, str) else list(activation),
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
        self.workspace = Workspace(self.sizes, self.dtype)
        self._initialise()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the model that has this :attr:`config`, with its first weights."""
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
        """Return a data set in the dtype and form that :class:`Workspace` takes, or say what is wrong with it.

        Raises
        ------
        TypeError
            Something in it is no real number, or a class index is no integer.
        ValueError
            A shape that does not fit, no rows, NaN or Inf, or a target out of range.
        """
        inputs = check_inputs(x, self.sizes[0], self.dtype)
        targets = self.loss.check_targets(y, self.sizes[-1], self.dtype)
        check_same_length(inputs, targets)
        return inputs, targets

    def step_gradient(self, batch: int, *, count_correct: bool = False) -> tuple[float, int | None]:
        """Overwrite :attr:`gradients` from the first `batch` rows of the workspace, with no check of the data.

        Returns
        -------
        loss
            The mean over the batch.
        correct
            How many rows were predicted right; None where the loss does not know, or unless `count_correct`.

        Raises
        ------
        ValueError
            There are no rows, or fewer in the workspace than `batch`.

        Examples
        --------
        >>> model = MLP((4, 3))
        >>> x, y = model.check_data(np.eye(4), [0, 1, 2, 0])
        >>> batch = model.workspace.gather(x, y, rows=np.array([3, 1]))
        >>> loss, correct = model.step_gradient(batch, count_correct=True)
        """
        loss, correct = self.batch_loss(batch, count_correct=count_correct)
        self._backward(batch)
        return loss, correct

    def batch_loss(self, batch: int, *, count_correct: bool = True) -> tuple[float, int | None]:
        """Return what :meth:`step_gradient` returns, and leave :attr:`gradients` as they are."""
        workspace = self.workspace
        if not 0 < batch <= min(workspace.capacity, len(workspace.targets)):
            raise ValueError(f"batch: got {batch} rows, expected 1 to {workspace.capacity}; load or gather them first")
        outputs, targets = self._forward(batch), workspace.targets[:batch]
        correct = self.loss.correct(outputs, targets, workspace.loss_scratch) if count_correct else None
        delta = workspace.deltas[-1][:batch]
        return self.loss.loss_and_gradient(outputs, targets, delta, workspace.loss_scratch), correct

    def loss_and_gradient(self, x: object, y: object) -> float:
        """Overwrite :attr:`gradients` from one batch and return its mean loss. Raises what `check_data` raises."""
        return self.step_gradient(self.workspace.load(*self.check_data(x, y)))[0]

    def forward(self, x: object) -> NDArray[Any]:
        """Return the outputs for each row of `x`, logits where the loss takes logits, as a new array.

        Raises
        ------
        TypeError
            `x` does not hold real numbers.
        ValueError
            `x` has another shape than (rows, sizes[0]), no rows, or a NaN or Inf.
        """
        inputs = check_inputs(x, self.sizes[0], self.dtype)
        outputs = np.empty((len(inputs), self.sizes[-1]), self.dtype)
        for part in _batches(len(inputs), _INFERENCE_BATCH):
            outputs[part] = self._forward(self.workspace.load(inputs[part]))
        return outputs

    def predict(self, x: object) -> NDArray[Any]:
        """Return the class index of each row, 0 or 1 for each output, or the values, as the loss has it.

        The shape is (rows,) for class indices and for a single output, else (rows, outputs). Raises what
        :meth:`forward` raises.
        """
        return self.loss.predict(self.forward(x))

    def predict_probabilities(self, x: object) -> NDArray[Any]:
        """Return the softmax of each row, or the sigmoid of each output, of shape (rows,) for a single output.

        Raises
        ------
        ValueError
            The loss is not a cross-entropy. Also what :meth:`forward` raises.
        """
        return self.loss.probabilities(self.forward(x))

    def evaluate(self, x: object, y: object, batch_size: int = _INFERENCE_BATCH) -> tuple[float, float | None]:
        """Return the mean loss and the share of rows predicted right, None where the loss does not know.

        The gradients are left as they are. Raises what :meth:`check_data` raises.
        """
        batch_size = whole_number("batch_size", batch_size)
        inputs, targets = self.check_data(x, y)
        total, right = 0.0, 0
        correct: int | None = None
        for part in _batches(len(inputs), batch_size):
            batch = self.workspace.load(inputs[part], targets[part])
            loss, correct = self.batch_loss(batch)
            total += loss * batch
            right += correct or 0
        return total / len(inputs), None if correct is None else right / len(inputs)

    def make_optimizer(self, rule: str | Rule = "adam", *, backend: str | None = None, **options: Any) -> Optimizer:
        """Return an optimizer of the parameters, with their layout, as :class:`Training` takes it.

        With the backend ``cuda`` it updates a copy that lies on the GPU. :class:`Training` sends the parameters there
        before an epoch and brings them back behind it, and so this model is what evaluates, predicts and is saved.

        Parameters
        ----------
        rule, backend, **options
            Further arguments of :class:`Optimizer`: ``lr``, ``max_norm``, …

        Raises
        ------
        TypeError, ValueError, ImportError
            What :class:`Optimizer` raises.

        Examples
        --------
        >>> MLP((4, 3)).make_optimizer("sgd", lr=0.1)
        Optimizer(15 float32, sgd: lr=0.1, weight_decay=0.0)
        """
        device = get_backend(backend).device
        parameters = self.parameters
        if device is not None:
            parameters = device.zeros(parameters.size, self.dtype)
            device.write(parameters, self.parameters)
        return Optimizer(parameters, rule, layout=self.layout, backend=backend, **options)

    def fit(
        self,
        x: object,
        y: object,
        *,
        rule: str | Rule = "adam",
        epochs: int = 10,
        batch_size: int | None = 32,
        test: tuple[object, object] | None = None,
        sampling: str = "shuffle",
        schedule: str = "constant",
        seed: int = 0,
        progress: bool = True,
        **optimizer: Any,
    ) -> list[EpochResult]:
        """Train on the rows of `x`, from the weights as they are, with a new optimizer.

        Parameters
        ----------
        x, y
            Inputs of shape (rows, sizes[0]) and targets as the loss takes them.
        rule
            The update rule, by name or one of your own.
        epochs, batch_size, sampling, schedule, seed
            As :class:`Training` has them.
        test
            Inputs and targets to evaluate on behind each epoch.
        progress
            Show a bar, on a terminal, when it takes more than two seconds.
        **optimizer
            Further arguments of :class:`Optimizer`: ``lr``, ``max_norm``, ``backend``, …

        Returns
        -------
        list of EpochResult
            Losses, accuracies, samples a second and learning rate of each epoch.

        Raises
        ------
        TypeError, ValueError
            What :meth:`check_data`, :class:`Optimizer` and :class:`Training` raise.
        KeyboardInterrupt
            Ctrl-C came; the weights are those behind the last whole step.

        Examples
        --------
        >>> from fastopt.data import digits
        >>> data = digits()
        >>> model = MLP((64, 32, 10))
        >>> history = model.fit(data.inputs / 16, data.targets, epochs=5, lr=3e-3)
        >>> history[-1].train_accuracy > 0.9
        True
        """
        with Waiting(GETTING_READY, disable=not progress):
            training = Training(
                self,
                self.make_optimizer(rule, seed=seed, **optimizer),
                self._dataset("x", x, y),
                test=None if test is None else self._dataset("test", *test),
                epochs=epochs,
                batch_size=batch_size,
                sampling=sampling,
                schedule=schedule,
                seed=seed,
            )
        with stop_on_interrupt(training) as interrupt, ProgressBar(training, delay=2.0, disable=not progress) as bar:
            history = list(training.run(on_progress=bar))
        if interrupt.happened:
            raise KeyboardInterrupt
        return history

    def _dataset(self, name: str, x: object, y: object) -> Dataset:
        return Dataset(*self.check_data(x, y), classes=None, name=name, source="arrays")

    def _forward(self, batch: int) -> NDArray[Any]:
        workspace = self.workspace
        inputs = workspace.inputs[:batch]
        for number, layer in enumerate(self.layers):
            outputs = workspace.outputs[number][:batch]
            layer.forward(inputs, outputs, workspace.scratch(number, batch))
            inputs = outputs
        return inputs

    def _backward(self, batch: int) -> None:
        workspace = self.workspace
        for number in reversed(range(len(self.layers))):
            inputs = workspace.outputs[number - 1] if number else workspace.inputs
            self.layers[number].backward(
                inputs[:batch],
                workspace.outputs[number][:batch],
                workspace.deltas[number][:batch],
                workspace.scratch(number, batch),
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
        return f"MLP({shape}, {self.loss.name}, {self.layout.size:,} {self.dtype.name} parameters)"


def _rebuild(cls: type[MLP], config: Mapping[str, Any], parameters: NDArray[Any]) -> MLP:
    model = cls.from_config(config)
    np.copyto(model.parameters, parameters)
    return model


def _overwrite(name: str, buffer: NDArray[Any], values: NDArray[Any]) -> None:
    """Write into the buffer, which stays, since the layers view it; ``model.parameters *= 2`` ends here too."""
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


def _check_activations(hidden: str | Sequence[str], output: str, n_hidden: int) -> tuple[Activation, ...]:
    names = [hidden] * n_hidden if isinstance(hidden, str) else list(hidden)
    if len(names) != n_hidden:
        raise ValueError(
            f"activation: got {len(names)} names, expected {n_hidden}, one for each hidden layer; "
            "the last layer's is output_activation"
        )
    if isinstance(hidden, str):
        get_activation(hidden)  # a wrong name is an error without hidden layers too
    return tuple(get_activation(name) for name in (*names, output))


def _check_outputs(loss: Loss, output_activation: str, n_outputs: int) -> None:
    if loss.from_logits and output_activation != "identity":
        raise ValueError(
            f"output_activation: got {output_activation!r}, expected 'identity', since {loss.name} works from logits, "
            "where it cannot overflow; predict_probabilities gives the probabilities"
        )
    if loss.name == "softmax_cross_entropy" and n_outputs < 2:
        raise ValueError(
            "sizes: got 1 output, expected at least 2, since the softmax of one number is always 1; "
            "for two classes and one output use loss='binary_cross_entropy'"
        )
