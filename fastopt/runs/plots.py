"""Pictures of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..train import EpochResult

__all__ = ["plot_history"]


def plot_history(history: Sequence[EpochResult], path: Path, title: str) -> None:
    """Plot the loss, and the accuracy if there is one, over the epochs; the suffix of `path` determines the format."""
    from matplotlib.figure import Figure

    curves = [("loss", "train_loss", "test_loss")]
    if any(result.train_accuracy is not None for result in history):
        curves.append(("accuracy", "train_accuracy", "test_accuracy"))
    figure = Figure(figsize=(5.0 * len(curves), 3.6), layout="constrained")
    figure.suptitle(title)
    for axes, (label, *fields) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        for field in fields:
            _draw(axes, history, field)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _draw(axes: Any, history: Sequence[EpochResult], field: str) -> None:
    points = [(result.epoch, getattr(result, field)) for result in history if getattr(result, field) is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        part = field.partition("_")[0]
        axes.plot(epochs, values, marker="o", markersize=3, label=f"{part} {values[-1]:.4g}")
