"""Everything that the result of a training depends on, as one value that JSON can hold.

:class:`Settings` is the only description of these settings: type, default, permitted values, text of ``--help``.
The command line is generated from it, and a saved run is checked by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .._errors import unknown_name
from .._user_file import is_in_file
from ..backends import BACKENDS, ROUNDINGS
from ..buffers import DTYPES
from ..data import Dataset
from ..nn import ACTIVATIONS, INITIALISERS, LOSSES
from ..optim import Optimizer
from ..rules import RULES, Rule, get_rule
from ..rules.user_file import load_rule
from ..schedules import SCHEDULES
from ..train import MLP, SAMPLING
from .options import Choice, Each, Flag, Number, Option, Text, Whole, setting

__all__ = ["Settings", "find_rule"]

_LIMIT = Number("a positive finite number", lambda number: 0 < number < math.inf)


@dataclass(frozen=True)
class Settings:
    """What to train, on what data, and how. The defaults are those of ``fastopt train``.

    Raises
    ------
    TypeError, ValueError
        A value that its setting does not permit.

    Examples
    --------
    >>> Settings(hidden=[64, 64], epochs=5).hidden
    (64, 64)
    >>> Settings(epochs=-1)
    Traceback (most recent call last):
    ValueError: epochs: got -1, expected a whole number from 0
    """

    data: str | None = setting(
        None,
        "data",
        Text("PATH"),
        "an .npz file; an .npy file of inputs with its targets in NAME_targets.npy, or INPUTS.npy,TARGETS.npy; "
        "a .csv file; an IDX file of images; or a folder with MNIST's files",
        default_text="the built-in handwritten digits",
    )
    target: str | None = setting(None, "data", Text("COLUMN"), "column of a .csv file to predict")
    regression: bool = setting(False, "data", Flag(), "treat whole-number targets as quantities, not as classes")
    test: str | None = setting(None, "data", Text("PATH"), "data to test on", default_text="a part of --data")
    test_fraction: float = setting(
        0.2,
        "data",
        Number("a number between 0 and 1", lambda number: 0 < number < 1),
        "share of the rows of --data to test on",
    )
    standardise: bool = setting(
        True,
        "data",
        Flag(),
        "use the features as they are, not scaled to mean 0 and standard deviation 1 of the training part",
    )
    hidden: tuple[int, ...] = setting(
        (128,), "model", Each(Whole(1)), "units of each hidden layer; no number at all for a linear model"
    )
    activation: str = setting(
        "relu",
        "model",
        Choice("activation", ACTIVATIONS, own=True),
        "activation of the hidden layers",
    )
    output_activation: str = setting(
        "identity",
        "model",
        Choice("activation", ACTIVATIONS, own=True),
        "activation of the last layer, which has to be identity unless --loss is mean_squared_error",
    )
    loss: str | None = setting(
        None,
        "model",
        Choice("loss", LOSSES, own=True),
        "what the training minimises",
        default_text="softmax_cross_entropy for classes, mean_squared_error for quantities",
    )
    init: str = setting("he", "model", Choice("initialiser", INITIALISERS), "initialiser of the weights")
    dtype: str = setting("float32", "model", Choice("dtype", DTYPES), "type of the parameters and of all arithmetic")
    kink: float = setting(
        0.0,
        "model",
        Number("a number from 0 to 1", lambda number: 0 <= number <= 1),
        "subgradient of relu and leaky_relu at exactly 0, from 0 to 1",
    )
    rule: str = setting(
        "adam",
        "optimizer",
        Choice("rule", RULES, own=True),
        "update rule, see 'fastopt rules'",
    )
    hyper: Mapping[str, Any] = field(default_factory=dict)
    bias_decay: bool = setting(True, "optimizer", Flag(), "apply weight decay to weights only, not to biases")
    clip_value: float | None = setting(None, "optimizer", _LIMIT, "limit each element of the gradient to [-X, X]")
    max_norm: float | None = setting(None, "optimizer", _LIMIT, "limit the Euclidean norm of the whole gradient")
    max_segment_norm: float | None = setting(
        None, "optimizer", _LIMIT, "limit the norm of the gradient of each weight matrix and each bias vector"
    )
    skip_nonfinite: bool = setting(False, "optimizer", Flag(), "skip steps whose gradient contains NaN or Inf")
    states: str | None = setting(
        None,
        "optimizer",
        Choice("dtype of states", ("bfloat16", *DTYPES)),
        "dtype of the states; bfloat16 halves their memory, for parameters of float32",
        default_text="that of --dtype",
    )
    rounding: str = setting(
        "nearest",
        "optimizer",
        Choice("rounding", ROUNDINGS),
        "how states of bfloat16 are rounded; stochastic keeps small changes on average",
    )
    backend: str | None = setting(
        None,
        "optimizer",
        Choice("backend", BACKENDS),
        "implementation to train with, where cuda uses a GPU",
        default_text="numba, or c where Numba is missing",
    )
    epochs: int = setting(20, "training", Whole(0), "passes over the training data")
    batch_size: int | None = setting(
        32, "training", Whole(1), "rows per step, or 'all' for gradient descent on the whole training part", none="all"
    )
    sampling: str = setting(
        "shuffle",
        "training",
        Choice("sampling", SAMPLING),
        "order of the rows in an epoch; random draws them with replacement",
    )
    schedule: str = setting(
        "constant", "training", Choice("schedule", SCHEDULES), "course of the learning rate over the epochs"
    )
    seed: int = setting(
        0,
        "training",
        Whole(0, 2**64 - 1),
        "seed of the weights, the split, the order of the rows and stochastic rounding",
    )

    def __post_init__(self) -> None:
        for name, option in self.options().items():
            object.__setattr__(self, name, option.check(name, getattr(self, name)))
        if not isinstance(self.hyper, Mapping):
            raise TypeError(f"hyper: got {self.hyper!r}, expected hyper-parameters of the rule by name")
        own = {name: tuple(value) if isinstance(value, list) else value for name, value in self.hyper.items()}
        object.__setattr__(self, "hyper", own)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return the description of each setting by name. `hyper` has none: the rule knows what may be in it."""
        return {entry.name: entry.metadata["option"] for entry in fields(cls) if "option" in entry.metadata}

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that :meth:`as_dict` gave, also after a round trip through JSON.

        Raises
        ------
        TypeError, ValueError
            A name that is not a setting, or a value that its setting does not permit.
        """
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("setting", name, known)
        return cls(**values)

    @property
    def data_name(self) -> str:
        """What the data is called: the name of its first file or folder, up to the first dot."""
        if self.data is None:
            return "digits"
        return Path(self.data.split(",")[0]).expanduser().resolve().name.split(".")[0] or "data"

    def make_model(self, data: Dataset) -> MLP:
        """Return the model for the data, whose targets determine the default loss and the number of outputs."""
        loss = self.loss or ("softmax_cross_entropy" if data.is_classification else "mean_squared_error")
        return MLP(
            (data.features, *self.hidden, _outputs(loss, data)),
            activation=self.activation,
            output_activation=self.output_activation,
            loss=loss,
            init=self.init,
            seed=self.seed,
            dtype=self.dtype,
            kink=self.kink,
        )

    def make_optimizer(self, model: MLP, threads: int | None = None) -> Optimizer:
        """Return the optimizer of the model's parameters."""
        return model.make_optimizer(
            find_rule(self.rule)(**self.hyper),
            groups={} if self.bias_decay else {"bias": {"weight_decay": 0.0}},
            states=self.states,
            rounding=self.rounding,
            seed=self.seed,
            backend=self.backend,
            threads=threads,
            clip_value=self.clip_value,
            max_norm=self.max_norm,
            max_segment_norm=self.max_segment_norm,
            skip_nonfinite=self.skip_nonfinite,
        )


def find_rule(name: str) -> Rule:
    """Return a built-in rule by its name, or one of the user's own by ``FILE.py:NAME``."""
    return load_rule(name) if is_in_file(name) else get_rule(name)


def _outputs(loss: str, data: Dataset) -> int:
    if data.classes is None:
        return int(data.targets.shape[1])
    if loss == "binary_cross_entropy":
        if len(data.classes) != 2:
            raise ValueError(
                f"loss: binary_cross_entropy is for two classes, {data.name} has {len(data.classes)}; "
                "use softmax_cross_entropy"
            )
        return 1
    return len(data.classes)
