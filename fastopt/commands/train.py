"""``fastopt train``: train a model on the built-in digits or on your own data."""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._output import say, warn
from ..rules import RULES
from ..runs.options import Number, Option, Text, Whole
from ..runs.run import Run
from ..runs.saved_run import MODEL_FILE
from ..runs.settings import Settings, find_rule
from ..train import PREPARING, EpochResult, Interrupt, Position, ProgressBar, Waiting, stop_on_interrupt
from .options import add_hyper_options, add_option, hyper_text, option_name, read_hyper

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Train a multi-layer perceptron. Without arguments: on the built-in handwritten digits, in a few seconds.

The run's folder receives model.safetensors (weights, optimizer state, position), settings.json, history.csv and
curves.png. Ctrl-C, SIGTERM and SIGHUP save the model and stop; --resume continues from there, with the same bits as an
uninterrupted run.
"""

_EPILOG = """\
hyper-parameters of the built-in rules, with their defaults ('fastopt rules NAME' explains a rule):
{rules}

examples:
  fastopt train
  fastopt train --data table.csv --target price --regression --hidden 64 64 --max-norm 1
  fastopt train --data mnist/ --hidden 256 --rule adamw --lr 2e-3 --weight-decay 0.05 --schedule cosine
  fastopt train --data mnist/ --hidden 1024 1024 --batch-size 512 --backend cuda
  fastopt train --rule my_file.py:heavy_ball --lr 0.1 --beta 0.95
  fastopt train --resume runs/digits --epochs 40"""

_RUN = {
    "threads": Option("run", Whole(1), "CPU threads to train with", None, "all processors of this process"),
    "out": Option("run", Text("FOLDER"), "folder of the run; it must be new or empty", None, "runs/NAME"),
    "resume": Option(
        "run",
        Text("RUN"),
        "continue the run in this folder; only --epochs, --threads, --save-every and --quiet may be added",
        None,
    ),
    "save_every": Option(
        "run",
        Number("a number above 0", lambda value: value > 0, "SECONDS"),
        "seconds of training that a crash may cost",
        60.0,
    ),
}
"""Options that leave the result of a training as it is, and so are no settings."""

_WITH_RESUME = {"--resume", "--epochs", "--threads", "--save-every", "--quiet", "--help"}

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What a run is asked to stop with: by Ctrl-C, by a batch system, or by a terminal that is closed."""


def add_parser(commands: Any) -> None:
    """Declare the command. Options that were not given stay absent: the defaults are in `Settings` only."""
    parser = commands.add_parser(
        "train",
        help="train a model",
        usage="fastopt train [OPTION ...]",  # argparse's own takes twelve lines, above every error
        description=_DESCRIPTION,
        epilog=_EPILOG.format(rules="\n".join(_defaults_of_rules())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run)
    options = {**Settings.options(), **_RUN}
    groups: dict[str, Any] = {}
    for name, option in options.items():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
            if option.group == "optimizer":
                groups["hyper"] = parser.add_argument_group("hyper-parameters of the rule")
        add_option(groups[option.group], name, option)
    flags = {"--overwrite": "replace the run in the folder of --out", "--quiet": "print only where the run is saved"}
    for flag, text in flags.items():
        groups["run"].add_argument(flag, action="store_true", default=False, help=text)
    taken = {option_name(name, option) for name, option in options.items()} | {*flags, "--set", "--help"}
    parser.prepare = lambda arguments: _prepare(groups["hyper"], taken, arguments)


def run(arguments: argparse.Namespace) -> int:
    """Train, save, draw; print where."""
    given = vars(arguments)
    quiet = given["quiet"]
    save_every = _RUN["save_every"].check("--save-every", given.get("save_every", _RUN["save_every"].default))
    with Waiting(PREPARING, disable=quiet):
        opened = _open(given)
    with opened:
        return _train(opened, quiet=quiet, save_every=save_every)


def _open(given: dict[str, Any]) -> Run:
    if "resume" in given:
        return Run.resume(Path(given["resume"]), epochs=given.get("epochs"), threads=given.get("threads"))
    own = {name: value for name, value in given.items() if name in Settings.options()}
    settings = Settings(**own, hyper=read_hyper(given))
    if given["overwrite"] and "out" not in given:
        raise ValueError("--overwrite replaces the run in the folder that --out names; without --out a new one is made")
    folder = Path(given["out"]) if "out" in given else None
    return Run.start(folder, settings, threads=given.get("threads"), overwrite=given["overwrite"])


def _prepare(group: Any, taken: set[str], arguments: Sequence[str]) -> str:
    """Add the options of the chosen rule, and return a hint for the error about an option that does not exist."""
    if any(word.partition("=")[0] == "--resume" for word in arguments):
        _refuse_changes(arguments)
        return ""
    rule = find_rule(_chosen_rule(arguments))
    group.title = f"hyper-parameters of the rule {rule.name}"
    add_hyper_options(group, rule, taken)
    return f"the hyper-parameters of {rule.name} are {', '.join(rule.hyper)}"


def _chosen_rule(arguments: Sequence[str]) -> str:
    default = Settings.options()["rule"].default
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--rule", nargs="?", const=default, default=default)
    rule: str = parser.parse_known_args(arguments)[0].rule
    return rule


def _refuse_changes(arguments: Sequence[str]) -> None:
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    others = sorted(given - _WITH_RESUME)
    if others:
        raise ValueError(
            f"--resume continues a run with its own settings; leave out {', '.join(others)}, or start a new run"
        )


def _defaults_of_rules() -> list[str]:
    width = max(map(len, RULES)) + 2
    return [
        f"  {name:<{width}}" + " ".join(f"{option_name(key)} {hyper_text(value)}" for key, value in rule.hyper.items())
        for name, rule in RULES.items()
    ]


def _train(run: Run, *, quiet: bool, save_every: float) -> int:
    training = run.training
    if training.position.epoch == training.epochs and run.history:
        say(f"{run.folder}: all {training.epochs} epochs are done; train longer with --epochs {2 * training.epochs}")
        return 0
    if not quiet:
        say(_heading(run))
    saving = _Saving(run, save_every)
    with stop_on_interrupt(training, _SIGNALS) as interrupt:
        try:
            _epochs(run, saving, quiet)
        except Exception:  # of an evaluation that runs out of memory, say: what was trained is whole
            saving.save()
            raise
        return _report(run, interrupt, saving.save()) or int(saving.is_elsewhere)


def _epochs(run: Run, saving: _Saving, quiet: bool) -> None:
    """Train up to the last epoch, or until a signal comes."""
    with ProgressBar(run.training, disable=quiet) as bar:

        def show_and_save(position: Position) -> None:
            bar(position)
            saving.save_if_due()

        for result in run.training.run(on_progress=show_and_save):
            run.history.append(result)
            bar.describe(result)
            if not quiet:
                bar.write(_line(result, run.training.epochs))


class _Saving:
    """Saves a run at intervals of time, so that a crash costs no more than that; elsewhere if need be.

    Attributes
    ----------
    is_elsewhere
        Whether the run's own folder did not take it.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self._run, self._seconds = run, seconds
        self._due = time.monotonic() + seconds
        self.is_elsewhere = False

    def save_if_due(self) -> None:
        """Save if it is time; where no place takes the run, say so and go on: there may be room again later."""
        if time.monotonic() < self._due:
            return
        self._run.training.download()
        try:
            self.save()
        except Exception as error:
            warn(f"warning: {error}; the training goes on")
        self._due = time.monotonic() + self._seconds

    def save(self) -> list[str]:
        """Save, and return the names of the files that could not be written besides the model."""
        try:
            failed = self._run.save()
        except Exception as error:
            warn(f"warning: {error}")
            failed = self._run.rescue()
            self.is_elsewhere = True
            warn(f"the run is saved in {self._run.folder} from now on")
        for message in failed.values():
            warn(f"warning: {message}")
        return list(failed)


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


def _report(run: Run, interrupt: Interrupt, failed: Sequence[str]) -> int:
    """Say what is to be said of a training that is saved but for some files, and return the exit status."""
    if run.training.optimizer.skipped:
        warn(f"{run.training.optimizer.skipped} steps skipped: their gradient was not finite")
    drawn = bool(run.history) and _draw(run)
    if run.history and not math.isfinite(run.history[-1].train_loss) and not run.settings.skip_nonfinite:
        warn("the loss is not finite any more: try a smaller --lr, or --max-norm 1")
    if interrupt.happened:
        warn(f"interrupted; saved in {run.folder}; continue with: fastopt train --resume {run.folder}")
        return interrupt.status
    names = [MODEL_FILE, "settings.json", "history.csv", *(["curves.png"] if drawn else [])]
    say(f"saved in {run.folder}: {', '.join(name for name in names if name not in failed)}")
    return 0


def _draw(run: Run) -> bool:
    """Draw the curves, and return whether that worked: the model is saved already, so a failure is only a warning."""
    try:
        run.draw()
    except Exception as error:
        warn(f"warning: {error}")
        return False
    return True
