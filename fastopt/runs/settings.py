"""Everything that a run of the command line depends on, as one value that JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..data import Dataset
from ..optim import Optimizer
from ..rules import Rule, get_rule
from ..rules.user_file import load_rule
from ..train import MLP

__all__ = ["Settings", "find_rule"]


@dataclass(frozen=True)
class Settings:
    """What to train, on what, and how. The defaults are those of ``fastopt train``."""

    data: str | None = None
    target: str | None = None
    regression: bool = False
    test: str | None = None
    test_fraction: float = 0.2
    standardise: bool = True
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    output_activation: str = "identity"
    loss: str | None = None
    init: str = "he"
    dtype: str = "float32"
    kink: float = 0.0
    rule: str = "adam"
    hyper: Mapping[str, Any] = field(default_factory=dict)
    clip_value: float | None = None
    max_norm: float | None = None
    max_segment_norm: float | None = None
    skip_nonfinite: bool = False
    decay_bias: bool = True
    epochs: int = 20
    batch_size: int | None = 32
    sampling: str = "shuffle"
    schedule: str = "constant"
    seed: int = 0
    backend: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that :meth:`as_dict` gave, also by way of JSON."""
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        known["hidden"] = tuple(known["hidden"])
        return cls(**known)

    def make_model(self, data: Dataset) -> MLP:
        """Return the model for that data: its loss and its outputs are those that the targets want."""
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
        """Return the optimizer over the model's parameters."""
        return model.make_optimizer(
            find_rule(self.rule),
            groups={} if self.decay_bias else {"bias": {"weight_decay": 0.0}},
            backend=self.backend,
            threads=threads,
            clip_value=self.clip_value,
            max_norm=self.max_norm,
            max_segment_norm=self.max_segment_norm,
            skip_nonfinite=self.skip_nonfinite,
            **self.hyper,
        )


def find_rule(name: str) -> Rule:
    """Return a built-in rule by name, or a user's own by ``file.py:name``."""
    return load_rule(name) if ".py" in name else get_rule(name)


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
