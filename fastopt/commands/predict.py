"""``fastopt predict``: predictions of a trained model, as a .csv file."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import replace_file
from ..data import Dataset, align_classes, load_inputs
from ..runs.saved_run import SavedModel, load_model

__all__ = ["add_parser", "run"]

_BATCH = 1024


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "predict",
        help="predict with a trained model",
        description="Write a .csv file with a prediction for each row of the data and, for classes, their "
        "probabilities. Print the accuracy or the mean squared error if the data has targets.",
        epilog="example:\n  fastopt predict runs/digits new.csv --out predictions.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="RUN", type=Path, help="folder of a run of fastopt train")
    parser.add_argument("data", metavar="DATA", help="data as for fastopt train --data, with or without targets")
    parser.add_argument("--out", metavar="FILE", type=Path, help="file to write (default: RUN/predictions.csv)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict, and write the predictions."""
    saved = load_model(arguments.model)
    settings = saved.settings
    inputs, labelled = load_inputs(
        arguments.data, columns=saved.columns, target=settings.target, regression=saved.classes is None
    )
    features = saved.checkpoint.model.sizes[0]
    if inputs.shape[1] != features:
        raise ValueError(f"{arguments.data}: got {inputs.shape[1]} features per row, expected {features}, the model's")
    targets = None if labelled is None else _targets(saved, labelled)
    outputs = _outputs(saved, inputs)
    folder = arguments.model if arguments.model.is_dir() else arguments.model.parent
    out = arguments.out or folder / "predictions.csv"
    predictions = _write(out, saved, outputs)
    if targets is not None:
        print(_score(saved, predictions, targets))
    print(f"{len(outputs):,} predictions in {out}")
    return 0


def _targets(saved: SavedModel, labelled: Dataset) -> NDArray[Any]:
    """Return the targets in the encoding of the model, checked before anything is written."""
    targets, outputs = align_classes(labelled, saved.classes).targets, saved.checkpoint.model.sizes[-1]
    if saved.classes is None and targets.shape[1] != outputs:
        raise ValueError(f"{labelled.name}: got {targets.shape[1]} targets per row, expected {outputs}, the model's")
    return targets


def _outputs(saved: SavedModel, inputs: NDArray[Any]) -> NDArray[Any]:
    """Return the model's outputs, computed in batches: the inputs may be a memory map larger than memory."""
    from tqdm import tqdm

    model = saved.checkpoint.model
    outputs = np.empty((len(inputs), model.sizes[-1]), model.dtype)
    for start in tqdm(range(0, len(inputs), _BATCH), delay=2.0, disable=None, leave=False, file=sys.stderr):
        batch = np.array(inputs[start : start + _BATCH], np.float64)
        if saved.standardiser is not None:
            batch = saved.standardiser.apply(batch)
        outputs[start : start + _BATCH] = model.forward(batch)
    return outputs


def _write(out: Path, saved: SavedModel, outputs: NDArray[Any]) -> NDArray[Any]:
    """Write the predictions and return them: class indices, or values."""
    loss = saved.checkpoint.model.loss
    predictions = loss.predict(outputs)
    if saved.classes is None:
        table = predictions.reshape(len(outputs), -1)
        header = ["prediction"] if table.shape[1] == 1 else [f"prediction_{k}" for k in range(table.shape[1])]
        rows: Any = ([f"{value:.9g}" for value in row] for row in table.tolist())
    else:
        if not loss.from_logits:  # squared error on one-hot rows: the largest output is the class
            predictions = outputs.argmax(axis=1)
        header, extra = ["prediction"], np.empty((len(outputs), 0))
        if loss.from_logits:
            extra = loss.probabilities(outputs).reshape(len(outputs), -1)
            names = saved.classes if extra.shape[1] > 1 else saved.classes[1:]
            header += [f"probability_{name}" for name in names]
        rows = (
            [saved.classes[k], *(f"{value:.6g}" for value in more)]
            for k, more in zip(predictions.tolist(), extra.tolist(), strict=True)
        )
    replace_file(out, lambda temporary: _write_table(temporary, header, rows))
    return predictions


def _write_table(path: Path, header: list[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _score(saved: SavedModel, predictions: NDArray[Any], targets: NDArray[Any]) -> str:
    if saved.classes is None:
        return f"mean squared error {np.mean((predictions.reshape(targets.shape) - targets) ** 2):.6g}"
    return f"accuracy {np.mean(predictions == targets):.2%}"
