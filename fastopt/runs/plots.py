"""Pictures of a training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._files import replace_file
from ..train import EpochResult

__all__ = ["draw_history", "plot_history"]

_INCHES = 5.0
_CHARACTERS = 58
"""Of the title that fit on a line above one plot."""


def plot_history(history: Sequence[EpochResult], path: Path, title: str) -> None:
    """Draw the history into a file, whose suffix determines its format.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    figure = draw_history(history, title)
    replace_file(path, lambda temporary: figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix(".")))


def draw_history(history: Sequence[EpochResult], title: str) -> Any:
    """Return a figure of the loss over the epochs, and of the accuracy where there is one."""
    from matplotlib.figure import Figure

    curves = [("loss", "train_loss", "test_loss")]
    if any(result.train_accuracy is not None for result in history):
        curves.append(("accuracy", "train_accuracy", "test_accuracy"))
    figure = Figure(figsize=(_INCHES * len(curves), 3.6), layout="constrained")
    lines = [textwrap.fill(line, _CHARACTERS * len(curves)) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), fontsize="medium", parse_math=False)  # a file's name may hold a dollar sign
    for axes, (label, *names) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        for name in names:
            _draw(axes, history, name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _draw(axes: Any, history: Sequence[EpochResult], name: str) -> None:
    points = [(result.epoch, getattr(result, name)) for result in history if getattr(result, name) is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        part = name.partition("_")[0]
        axes.plot(epochs, values, marker="o", markersize=3, label=f"{part} {values[-1]:.4g}")
