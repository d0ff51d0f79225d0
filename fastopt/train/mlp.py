"""The model that users train: the network, together with an optimizer and a loop over epochs."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any

from ..backends import Backend
from ..data import Dataset
from ..nn import Network
from ..optim import Optimizer
from ..rules import Rule, get_rule
from .interrupt import stop_on_interrupt
from .position import EpochResult
from .program import make_optimizer
from .progress import PREPARING, ProgressBar, Waiting
from .training import Training

__all__ = ["MLP"]


class MLP(Network):
    """A multi-layer perceptron: dense layers a₀ = x, aₗ₊₁ = f(aₗ·Wₗ + bₗ), and a loss of the last one.

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
        Number in [0, 2⁶⁴) that determines the initial weights, which are the same on every machine.
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
        Memory for one batch.
    config
        The arguments above as a plain dict, for :meth:`from_config`.

    Raises
    ------
    ValueError
        A size that is not positive, an unknown name, or arguments that do not fit together.
    TypeError
        An argument of the wrong type.

    Notes
    -----
    Use a model in one thread at a time, since all methods work in its workspace.

    Examples
    --------
    >>> model = MLP((4, 8, 3), seed=1)
    >>> model
    MLP(4-8-3 relu, softmax_cross_entropy, 67 float32 parameters)
    >>> x, y = np.eye(4), np.array([0, 1, 2, 0])
    >>> history = model.fit(x, y, epochs=50, batch_size=2, lr=0.1)
    >>> model.predict(x)
    array([0, 1, 2, 0])
    >>> model["layers.1.bias"].shape
    (3,)
    """

    def make_optimizer(
        self, rule: str | Rule = "adam", *, backend: str | Backend | None = None, **options: Any
    ) -> Optimizer:
        """Return an optimizer over the parameters, with their layout, for :class:`fastopt.train.Training`.

        With the backend ``cuda`` it updates a copy of the parameters on the GPU. :class:`~fastopt.train.Training`
        copies the parameters there before an epoch and back after it; evaluate, predict and save with this model.

        Parameters
        ----------
        rule, backend, **options
            Arguments of :class:`Optimizer`: ``lr``, ``max_norm``, …

        Raises
        ------
        TypeError, ValueError, ImportError
            As :class:`Optimizer` raises them.

        Examples
        --------
        >>> MLP((4, 3)).make_optimizer("sgd", lr=0.1)
        Optimizer(15 float32, sgd: lr=0.1, weight_decay=0.0)
        """
        return make_optimizer(self, rule, backend=backend, **options)

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
        """Train on the rows of `x`, starting from the current weights, with a new optimizer.

        Parameters
        ----------
        x, y
            Inputs of shape (rows, sizes[0]), and targets in the form that the loss takes.
        rule
            The update rule: a name, or your own rule.
        epochs, batch_size, sampling, schedule, seed
            As in :class:`fastopt.train.Training`.
        test
            Inputs and targets to evaluate on after each epoch.
        progress
            On a terminal, show a progress bar when training takes more than two seconds.
        **optimizer
            Further arguments of :class:`Optimizer`: ``lr``, ``max_norm``, ``backend``, …

        Returns
        -------
        list of EpochResult
            Losses, accuracies, samples per second and learning rate of each epoch.

        Raises
        ------
        TypeError
            An unknown argument, or as :meth:`check_data`, :class:`Optimizer` and :class:`~fastopt.train.Training`
            raise it.
        ValueError
            As :meth:`check_data`, :class:`Optimizer` and :class:`~fastopt.train.Training` raise it.
        KeyboardInterrupt
            Ctrl-C was pressed; the weights are those after the last whole step.

        Examples
        --------
        >>> from fastopt.data import digits
        >>> data = digits()
        >>> model = MLP((64, 32, 10))
        >>> history = model.fit(data.inputs / 16, data.targets, epochs=5, lr=3e-3)
        >>> history[-1].train_accuracy > 0.9
        True
        """
        rule = get_rule(rule)
        _check_fit_arguments(optimizer, rule)
        with Waiting(PREPARING, disable=not progress):
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


def _check_fit_arguments(options: Iterable[str], rule: Rule) -> None:
    """Raise TypeError for an option that neither :class:`Optimizer` nor the rule has, and say what `fit` takes."""
    loop = [name for name in signature(MLP.fit).parameters if name not in ("self", "optimizer")]
    keyword_only = (p for p in signature(Optimizer).parameters.values() if p.kind is p.KEYWORD_ONLY)
    optimizer = [p.name for p in keyword_only if p.name not in ("layout", "seed")]
    for name in options:
        if name not in optimizer and name not in rule.hyper:
            raise TypeError(
                f"fit: got an unknown argument {name!r}, expected {', '.join(loop)}, "
                f"the optimizer's {', '.join(optimizer)}, or {rule.name}'s {', '.join(rule.hyper)}"
            )
