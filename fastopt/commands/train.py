"""``fastopt train``: train a model on the built-in digits or on your own data."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

from ..backends import BACKENDS
from ..nn import ACTIVATIONS, INITIALISERS, LOSSES
from ..rules import RULES
from ..runs import MODEL_FILE, Run, Settings, new_folder
from ..schedules import SCHEDULES
from ..train import PREPARING, SAMPLING, EpochResult, ProgressBar, Waiting, stop_on_interrupt

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Train a multi-layer perceptron. With no argument: on the built-in handwritten digits, in a few seconds.

Makes a folder with model.safetensors (weights, optimizer state, position), settings.json, history.csv and curves.png.
Ctrl-C saves what is trained; --resume goes on from there, to the same bits as without the interruption."""

_EXAMPLES = """\
examples:
  fastopt train
  fastopt train --data table.csv --target price --regression --hidden 64 64 --max-norm 1
  fastopt train --data mnist/ --hidden 256 --rule adamw --lr 2e-3 --weight-decay 0.05 --schedule cosine
  fastopt train --data mnist/ --hidden 1024 1024 --batch-size 512 --backend cuda
  fastopt train --rule my_file.py:heavy_ball --lr 0.1 --beta 0.95
  fastopt train --resume runs/digits --epochs 40"""

_ANY_TIME = {"epochs", "threads", "quiet", "resume", "run", "command"}
"""What may be said with --resume; everything else is as the run has it."""

_OPTION = {"decay_bias": "no_bias_decay", "standardise": "no_standardise"}
"""Setting to option, where their names differ."""


def add_parser(commands: Any) -> None:
    """Declare the command. An option that was not given is absent, so that the defaults stand in `Settings` alone."""
    parser = commands.add_parser(
        "train",
        help="train a model",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run)
    _add_data(parser.add_argument_group("data"))
    _add_model(parser.add_argument_group("model"))
    _add_optimizer(parser.add_argument_group("optimizer"))
    _add_training(parser.add_argument_group("training"))


def run(arguments: argparse.Namespace) -> int:
    """Train, save, draw; print where."""
    given = vars(arguments)
    quiet = given.get("quiet", False)
    with Waiting(PREPARING, disable=quiet):
        kept = _open(given)
    return _train(kept, quiet=quiet)


def _open(given: dict[str, Any]) -> Run:
    if "resume" in given:
        _refuse_changes(given)
        return Run.resume(Path(given["resume"]), epochs=given.get("epochs"), threads=given.get("threads"))
    settings = _settings(given)
    folder = Path(given["out"]) if "out" in given else new_folder(_name(settings))
    return Run.start(folder, settings, threads=given.get("threads"))


def _add_data(group: Any) -> None:
    default = Settings()
    group.add_argument(
        "--data",
        metavar="PATH",
        help="a .npz, .npy (with its targets beside it) or .csv file, an IDX images file, or a folder of MNIST's "
        "files; default: the built-in digits",
    )
    group.add_argument("--target", metavar="COLUMN", help="the column of a .csv to predict")
    group.add_argument("--regression", action="store_true", help="whole-number targets are quantities, not classes")
    group.add_argument("--test", metavar="PATH", help="data to test on; default: a part of --data")
    group.add_argument(
        "--test-fraction", type=float, metavar="F", help=f"the share to test on; default {default.test_fraction}"
    )
    group.add_argument(
        "--no-standardise",
        dest="standardise",
        action="store_false",
        help="take the features as they are, not scaled to mean 0 and deviation 1 of the training part",
    )


def _add_model(group: Any) -> None:
    default = Settings()
    hidden = " ".join(map(str, default.hidden))
    group.add_argument("--hidden", type=int, nargs="*", metavar="N", help=f"hidden units by layer; default {hidden}")
    _choice(group, "activation", ACTIVATIONS, f"of the hidden layers; default {default.activation}")
    _choice(
        group, "output-activation", ACTIVATIONS, "of the last layer, with mean_squared_error alone; default identity"
    )
    _choice(group, "loss", LOSSES, "default: softmax_cross_entropy for classes, mean_squared_error for quantities")
    _choice(group, "init", INITIALISERS, f"of the weights; default {default.init}")
    _choice(group, "dtype", ("float32", "float64"), f"default {default.dtype}")
    group.add_argument(
        "--kink", type=float, metavar="K", help="subgradient of relu and leaky_relu at 0, from 0 to 1; default 0"
    )


def _add_optimizer(group: Any) -> None:
    default = Settings()
    group.add_argument(
        "--rule", metavar="NAME", help=f"see 'fastopt rules', or FILE.py:NAME for your own; default {default.rule}"
    )
    for name, (numbers, users) in _hyper_parameters().items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            nargs=numbers if numbers > 1 else None,
            metavar=tuple(f"B{k + 1}" for k in range(numbers)) if numbers > 1 else "X",
            help="of every rule; 'fastopt rules' shows its default"
            if len(users) == len(RULES)
            else f"of {', '.join(users)}",
        )
    group.add_argument(
        "--set",
        type=_assignment,
        action="append",
        metavar="NAME=X",
        help="a hyper-parameter of your own rule that has no option here",
    )
    group.add_argument(
        "--no-bias-decay", dest="decay_bias", action="store_false", help="weight decay leaves the biases out"
    )
    group.add_argument("--clip-value", type=float, metavar="X", help="limit each element of the gradient")
    group.add_argument("--max-norm", type=float, metavar="X", help="limit the norm of the whole gradient")
    group.add_argument("--max-segment-norm", type=float, metavar="X", help="limit the norm of each array's gradient")
    group.add_argument("--skip-nonfinite", action="store_true", help="leave out steps whose gradient has NaN or Inf")
    _choice(group, "backend", BACKENDS, "what trains, cuda on a GPU; default: numba, or c where Numba is missing")
    group.add_argument(
        "--threads", type=int, metavar="N", help="threads that train on the CPU; default: the processors"
    )


def _add_training(group: Any) -> None:
    default = Settings()
    group.add_argument("--epochs", type=int, metavar="N", help=f"default {default.epochs}")
    group.add_argument(
        "--batch-size",
        type=_batch_size,
        metavar="N",
        help=f"rows a step, or 'all' for gradient descent; default {default.batch_size}",
    )
    _choice(group, "sampling", SAMPLING, "order of the rows; random draws with replacement; default shuffle")
    _choice(group, "schedule", SCHEDULES, "of the learning rate over the epochs; default constant")
    group.add_argument("--seed", type=int, metavar="N", help="of weights, split and order; default 0")
    group.add_argument("--out", metavar="FOLDER", help="the run's folder; default runs/NAME")
    group.add_argument("--resume", metavar="RUN", help="go on with a run; allows --epochs, --threads and --quiet alone")
    group.add_argument("--quiet", action="store_true", help="print nothing but where the run is")


def _choice(group: Any, name: str, choices: Any, text: str) -> None:
    # Not argparse's own `choices`: our errors give the nearest name.
    group.add_argument(f"--{name}", metavar="NAME", help=f"{', '.join(sorted(choices))}; {text}")


def _hyper_parameters() -> dict[str, tuple[int, list[str]]]:
    """Return every hyper-parameter of the built-in rules: how many numbers it is, and whose."""
    found: dict[str, tuple[int, list[str]]] = {}
    for rule in RULES.values():
        for name, default in rule.hyper.items():
            found.setdefault(name, (len(default) if isinstance(default, tuple) else 1, []))[1].append(rule.name)
    return found


def _batch_size(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number or 'all'") from None


def _assignment(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        numbers = tuple([float(number) for number in value.split(",")])
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=NUMBER, or NAME=NUMBER,NUMBER") from None
    return name, numbers if len(numbers) > 1 else numbers[0]


def _settings(given: dict[str, Any]) -> Settings:
    own = {name: value for name, value in given.items() if name in Settings.__dataclass_fields__}
    if "hidden" in own:
        own["hidden"] = tuple(own["hidden"])
    hyper = {name: given[name] for name in _hyper_parameters() if name in given}
    hyper.update(given.get("set", []))
    return Settings(**own, hyper=hyper)


def _name(settings: Settings) -> str:
    if settings.data is None:
        return "digits"
    return Path(settings.data.split(",")[0]).expanduser().resolve().name.split(".")[0] or "data"


def _refuse_changes(given: dict[str, Any]) -> None:
    others = sorted(_OPTION.get(name, name).replace("_", "-") for name in given.keys() - _ANY_TIME)
    if others:
        raise ValueError(
            f"--resume goes on with the run's own settings; leave out --{', --'.join(others)}, or start a new run"
        )


def _train(run: Run, *, quiet: bool) -> int:
    training = run.training
    if training.position.epoch == training.epochs and run.history:
        print(f"{run.folder}: all {training.epochs} epochs are done; ask for more with --epochs {2 * training.epochs}")
        return 0
    if not quiet:
        print(_heading(run))
    last_saved = time.monotonic()
    with stop_on_interrupt(training) as interrupt, ProgressBar(training, disable=quiet) as bar:
        for result in training.run(on_progress=bar):
            run.history.append(result)
            bar.describe(result)
            if not quiet:
                bar.write(_line(result, training.epochs))
            if time.monotonic() - last_saved > _SAVE_EVERY:
                run.save()
                last_saved = time.monotonic()
    run.save()
    return _report(run, interrupted=interrupt.happened)


_SAVE_EVERY = 60.0
"""Seconds of training that a crash may cost."""


def _heading(run: Run) -> str:
    data, test, optimizer = run.train, run.test, run.training.optimizer
    return (
        f"{data.name}: {len(data):,} rows to train on, {len(test):,} to test on, {data.features} features\n"
        f"{run.training.model!r}\n"
        f"{optimizer!r} on {optimizer.backend}\n"
    )


def _line(result: EpochResult, epochs: int) -> str:
    def part(name: str, loss: float | None, accuracy: float | None) -> str:
        return f"{name} loss {loss:.4f}" + ("" if accuracy is None else f" accuracy {accuracy:7.2%}")

    width = len(str(epochs))
    return (
        f"epoch {result.epoch:{width}}/{epochs}  {part('train', result.train_loss, result.train_accuracy)}  "
        f"{part('test', result.test_loss, result.test_accuracy)}  "
        f"{result.samples_per_second:>9,.0f} samples/s  lr {result.lr:.3g}"
    )


def _report(run: Run, *, interrupted: bool) -> int:
    if run.training.optimizer.skipped:
        print(f"{run.training.optimizer.skipped} steps left out: their gradient was not finite", file=sys.stderr)
    if run.history:
        run.draw()
        if not math.isfinite(run.history[-1].train_loss) and not run.settings.skip_nonfinite:
            print("the loss is no longer finite: try a smaller --lr, or --max-norm 1", file=sys.stderr)
    if interrupted:
        print(f"interrupted; saved in {run.folder}. Go on with: fastopt train --resume {run.folder}", file=sys.stderr)
        return 130
    print(f"saved in {run.folder}: {MODEL_FILE}, settings.json, history.csv" + (", curves.png" if run.history else ""))
    return 0
