"""The bits of every rule, option and kind of training are those that were recorded in ``recorded_bits.json``.

A case gives one SHA-256 digest, the same for the backends Numba and C and for any number of threads. Trainings also
give the loss and the accuracy of each epoch; the losses are compared with a tolerance of 1e-12, since the logarithm in
them is the C library's. NaN counts as NaN, whatever its sign and payload, which IEEE 754 leaves open.

All data come from raw words of PCG64, integers, divisions and powers of two, so that they do not depend on NumPy's
distributions. On the host, coefficients take powers, and the cosine schedule a cosine, from the C library too: a
platform whose library rounds those otherwise would need digests of its own.

The cases use the public interface only: `Optimizer`, `Layout`, `MLP.fit` and the command line.

``python tests/test_recorded_bits.py --record`` writes the file again. Use it only where a change of bits is intended,
or cases were added, and explain the change in the commit.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from math import inf, nan, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, HYPER
from safetensors.numpy import load_file

from fastopt import MLP, Layout, Optimizer
from fastopt.cli import main

RECORDED = Path(__file__).with_name("recorded_bits.json")


@dataclass(frozen=True)
class Outcome:
    """What a case gives: the digest of its arrays, and loss and accuracy of each epoch if it is a training."""

    digest: str
    epochs: list[list[float | None]] | None = None


@dataclass(frozen=True)
class Case:
    """A function of the backend and the number of threads, and the numbers of threads that it is run with."""

    run: Callable[[str, int], Outcome]
    threads: tuple[int, ...] = (1, 2, 3)


def digest_of(arrays, *further):
    """Return the digest of named arrays, in the order of their names, and of further values as text."""
    digest = sha256(repr(further).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(np.where(np.isnan(array), nan, array).tobytes())
    return digest.hexdigest()


# Data


def words(seed, size):
    """Return raw 64-bit words, which NumPy does not change from version to version."""
    return np.atleast_1d(np.random.PCG64(seed).random_raw(size))


@cache
def _numbers(seed, size):
    uniform = (words(seed, size) >> np.uint64(11)).astype("float64") * 2.0**-51 - 2.0
    return np.ldexp(uniform, -(np.arange(size) % 8))


def numbers(seed, size, dtype, scale=1.0):
    """Return numbers of both signs and of eight magnitudes below 2, times a power of two, as a new array."""
    return (_numbers(seed, size) * scale).astype(dtype)


def inputs_of(rows, features):
    """Return multiples of 1/256 below 1, a third of them zero; every fourth row is zero, where relu has its kink."""
    drawn = words(rows + features, rows * features).reshape(rows, features)
    values = np.where(drawn % np.uint64(3) == 0, 0, drawn >> np.uint64(56)).astype("float64") / 256
    values[1::4] = 0.0
    return values


def labels_of(rows, classes):
    return (words(rows, rows) >> np.uint64(33)).astype("int64") % classes


def shares_of(rows, outputs):
    """Return multiples of 1/16 from 0 to 15/16."""
    return (words(rows + 7, rows * outputs) >> np.uint64(60)).astype("float64").reshape(rows, outputs) / 16


# Rules and their options

RULES = (
    "adagrad",
    "adam",
    "adamw",
    "momentum",
    "momentum_ema",
    "momentum_velocity",
    "nesterov",
    "nesterov_velocity",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_centered_momentum",
    "rmsprop_momentum",
    "scaled_clip",
    "sgd",
)
RULES_WITH_OPTIONS = ("adam", "adamw", "momentum", "sgd")

# 70,001 elements: several chunks of 16,384, enough for several threads, and a last segment of one element.
SHAPES = {"0.weight": (250, 200), "0.bias": (200,), "1.weight": (200, 99), "1.bias": (1,)}
GROUPS = {"bias": {"lr": 0.5, "weight_decay": 0.0}}
SMALL_SIZES = (0, 1, 7, 31, 64, 1000, 2049, 16_384, 16_385)


@dataclass(frozen=True)
class Steps:
    """What an optimizer of `SHAPES` is given: its options, and what each step, counted from 1, has of its own.

    `scale` multiplies the parameters and `gradient_scale` the gradients, by dtype. `spoiled` has elements of a step's
    gradient and their values. Before the step `reload`, a new optimizer loads the state.
    """

    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 6
    grouped: bool = True
    scale: dict[str, float] = field(default_factory=dict)
    gradient_scale: dict[str, float] = field(default_factory=dict)
    grad_scales: dict[int, float] = field(default_factory=dict)
    lrs: dict[int, float] = field(default_factory=dict)
    lr_scales: dict[int, float] = field(default_factory=dict)
    spoiled: dict[int, dict[int, float]] = field(default_factory=dict)
    reload: int = 0


_EVERYTHING = {
    "maximize": True,
    "clip_value": 0.03,
    "max_norm": 2.0,
    "max_segment_norm": 1.5,
    "skip_nonfinite": True,
    "zero_grad": True,
}
_GRAD_SCALES = {1: 0.5, 2: 3.0, 3: 1 / 1024, 5: 7 / 3}
_RATES = {"lrs": {2: 0.25, 5: 0.01}, "lr_scales": {3: 0.5, 4: 1 / 3, 6: 0.0}}
_DENORMAL = {"float32": 2.0**-124, "float64": 2.0**-1020}  # some of the numbers are denormal
_DENORMAL_SQUARES = {"float32": 2.0**-62, "float64": 2.0**-510}
_OVERFLOWING_SQUARES = {"float32": 2.0**66, "float64": 2.0**514}
_NOT_FINITE = {3: {5: nan, 40_000: inf, 50_100: -inf, 70_000: nan}}

OPTIONS = {
    "no group": Steps(grouped=False),
    "maximize": Steps({"maximize": True}),
    "grad_scale": Steps(grad_scales=_GRAD_SCALES),
    "clip_value": Steps({"clip_value": 0.3}),
    "max_norm": Steps({"max_norm": 1.0}),
    "max_norm, no group": Steps({"max_norm": 1.0}, grouped=False),
    "max_norm not reached": Steps({"max_norm": 1e6}),
    "max_segment_norm": Steps({"max_segment_norm": 1.0}),
    "max_segment_norm, no group": Steps({"max_segment_norm": 1.0}, grouped=False),
    "max_norm and max_segment_norm": Steps({"max_norm": 2.0, "max_segment_norm": 1.5}, grad_scales=_GRAD_SCALES),
    "max_norm, grad_scale, maximize": Steps({"max_norm": 1.0, "maximize": True}, grad_scales=_GRAD_SCALES),
    "max_norm and clip_value": Steps({"max_norm": 9.0, "clip_value": 0.03}),
    "skip_nonfinite": Steps({"skip_nonfinite": True}, spoiled={3: {60_000: nan}}),
    "skip_nonfinite, Inf, max_norm": Steps({"skip_nonfinite": True, "max_norm": 1.0}, spoiled={2: {70_000: -inf}}),
    "skip_nonfinite and zero_grad": Steps({"skip_nonfinite": True, "zero_grad": True}, spoiled={1: {0: nan}}),
    "zero_grad": Steps({"zero_grad": True}),
    "zero_grad, no group": Steps({"zero_grad": True}, grouped=False),
    "lr and lr_scale": Steps(**_RATES),
    "state_dict": Steps(**_RATES, reload=4),
    "state_dict, skip_nonfinite": Steps({"skip_nonfinite": True}, spoiled={2: {9: inf}}, reload=4),
    "everything": Steps(_EVERYTHING, grad_scales=_GRAD_SCALES, spoiled={3: {9: nan}}, reload=5, **_RATES),
    "NaN and Inf": Steps(spoiled=_NOT_FINITE),
    "NaN and Inf, clip_value": Steps({"clip_value": 0.3}, spoiled=_NOT_FINITE),
    "NaN, max_norm": Steps({"max_norm": 1.0}, spoiled={3: {60_000: nan}}),
    "lr beyond float32": Steps(lrs={6: 1e300}),
    "denormal numbers": Steps(scale=_DENORMAL, gradient_scale=_DENORMAL),
    "denormal numbers, max_norm": Steps({"max_norm": 1.0}, scale=_DENORMAL, gradient_scale=_DENORMAL),
    "denormal gradients": Steps(gradient_scale=_DENORMAL),
    "denormal squares": Steps(gradient_scale=_DENORMAL_SQUARES),
    "squares that overflow": Steps(gradient_scale=_OVERFLOWING_SQUARES),
    "squares that overflow, max_norm": Steps({"max_norm": 1.0}, gradient_scale=_OVERFLOWING_SQUARES),
}


def _layout(grouped):
    return Layout(SHAPES, groups={name: "bias" for name in SHAPES if name.endswith("bias")} if grouped else None)


def _optimizer(rule, parameters, case, **where):
    layout, groups = _layout(case.grouped), GROUPS if case.grouped else {}
    return Optimizer(parameters, rule, layout=layout, groups=groups, **where, **case.options, **HYPER[rule])


def _set_rates(optimizer, case, step):
    if step in case.lrs:
        optimizer.lr = case.lrs[step]
    if step in case.lr_scales:
        optimizer.lr_scale = case.lr_scales[step]


def steps_of(rule, dtype, case, backend, threads):
    """Return the outcome of an optimizer's steps: parameters, states, the last gradient, and the counts of steps."""
    size, where = sum(map(prod, SHAPES.values())), {"backend": backend, "threads": threads}
    parameters = numbers(0, size, dtype, case.scale.get(dtype, 1.0))
    optimizer = _optimizer(rule, parameters, case, **where)
    for step in range(1, case.steps + 1):
        if step == case.reload:
            parameters, saved = parameters.copy(), optimizer.state_dict()
            optimizer = _optimizer(rule, parameters, case, **where)
            optimizer.load_state_dict(saved)
        _set_rates(optimizer, case, step)
        gradients = numbers(step, size, dtype, case.gradient_scale.get(dtype, 1.0))
        for element, value in case.spoiled.get(step, {}).items():
            gradients[element] = value
        optimizer.step(gradients, grad_scale=case.grad_scales.get(step, 1.0))
    arrays = {"parameters": parameters, "gradients": gradients, **{f"state {k}": v for k, v in optimizer.state.items()}}
    return Outcome(digest_of(arrays, optimizer.steps, optimizer.skipped))


def small_steps_of(rule, dtype, backend, threads):
    """Return the outcome of three steps with the default hyper-parameters, for each of several sizes."""
    arrays = {}
    for size in SMALL_SIZES:
        parameters = numbers(0, size, dtype)
        optimizer = Optimizer(parameters, rule, backend=backend, threads=threads)
        for step in range(1, 4):
            optimizer.step(numbers(step, size, dtype))
        arrays |= {f"{size} parameters": parameters, **{f"{size} {k}": v for k, v in optimizer.state.items()}}
    return Outcome(digest_of(arrays))


def rule_cases():
    for dtype in DTYPES:
        for rule in RULES:
            yield f"rule {rule}, {dtype}", Case(partial(steps_of, rule, dtype, Steps(steps=10)))
            yield f"rule {rule}, {dtype}, small and default", Case(partial(small_steps_of, rule, dtype))
        for rule in RULES_WITH_OPTIONS:
            for name, case in OPTIONS.items():
                yield f"rule {rule}, {dtype}, {name}", Case(partial(steps_of, rule, dtype, case))


# Trainings


@dataclass(frozen=True)
class Fit:
    """A training: the network, what `fit` takes, the kind of targets, and the rows."""

    sizes: tuple[int, ...] = (12, 19, 11, 5)
    model: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    targets: str = "labels"
    rows: int = 101


_FIT = {"rule": "adam", "lr": 0.01, "batch_size": 16, "epochs": 2, "seed": 3, "progress": False}
_SQUARES = {"loss": "mean_squared_error"}
_PROBABILITIES = {"loss": "binary_cross_entropy"}
_DESCENT = {"rule": "sgd", "lr": 0.1}
_LARGE, _LARGER = (130, 200, 5), (520, 520, 4)  # weights of the first layer: 26,000 and 270,400
_KINKED = ("leaky_relu", "relu")
_NO_BIAS_DECAY = {"groups": {"bias": {"weight_decay": 0.0}}}
_TRAINED_RULES = ("sgd", "momentum", "adam", "adamw", "rmsprop_centered_momentum")
_ACTIVATIONS = [(name, kink) for name in ("identity", "leaky_relu", "relu", "sigmoid", "tanh") for kink in (0.0, 0.5)]

TRAININGS = {
    **{
        f"activation {name}, kink {kink}": Fit(model={"activation": name, "kink": kink})
        for name, kink in _ACTIVATIONS
        if name in _KINKED or not kink
    },
    **{
        f"output activation {name}, kink {kink}": Fit(
            (12, 9, 3), {"output_activation": name, "kink": kink, **_SQUARES}, _DESCENT, "values"
        )
        for name, kink in _ACTIVATIONS
        if name in _KINKED or not kink
    },
    "two activations": Fit(model={"activation": ("tanh", "leaky_relu")}),
    "softmax_cross_entropy": Fit((12, 9, 5), {}, _DESCENT),
    "binary_cross_entropy, one output": Fit((12, 9, 1), _PROBABILITIES, _DESCENT),
    "binary_cross_entropy, three outputs": Fit((12, 9, 3), _PROBABILITIES, _DESCENT, "values"),
    "mean_squared_error, labels": Fit((12, 9, 5), _SQUARES, _DESCENT),
    "mean_squared_error, one value": Fit((12, 9, 1), _SQUARES, _DESCENT, "values"),
    "mean_squared_error, three values": Fit((12, 9, 3), _SQUARES, _DESCENT, "values"),
    **{f"batch {size}": Fit(fit={"batch_size": size}) for size in (1, 7, 32, None)},
    "no hidden layer": Fit((12, 5)),
    "one hidden layer": Fit((12, 19, 5)),
    "two hidden layers": Fit((12, 19, 11, 5)),
    "three hidden layers": Fit((12, 19, 11, 23, 5)),
    "one unit": Fit((1, 1, 2)),
    **{f"26,000 weights, batch {size}": Fit(_LARGE, {}, {"batch_size": size}, rows=300) for size in (1, 16, 40, None)},
    "22,500 weights between hidden layers": Fit((12, 150, 150, 5)),
    **{f"270,400 weights, batch {size}": Fit(_LARGER, {}, {"batch_size": size}) for size in (8, 17, 70)},
    **{f"sampling {name}": Fit(fit={"sampling": name}) for name in ("random", "sequential", "shuffle")},
    **{f"schedule {name}": Fit(fit={"schedule": name}) for name in ("constant", "cosine", "linear")},
    **{f"init {name}": Fit(model={"init": name, "seed": 5}) for name in ("glorot", "he", "lecun")},
    **{
        f"{rule}{', max_norm' if limit else ''}": Fit(fit={**HYPER[rule], **_NO_BIAS_DECAY, **limit, "rule": rule})
        for rule in _TRAINED_RULES
        for limit in ({}, {"max_norm": 0.5})
    },
    "maximize": Fit(fit={"maximize": True, "lr": 1e-3}),
    "clip_value": Fit(fit={"clip_value": 0.003, **_DESCENT}),
    "max_segment_norm": Fit(fit={"max_segment_norm": 0.1, **_DESCENT}),
    "max_norm and max_segment_norm": Fit(fit={"max_norm": 0.2, "max_segment_norm": 0.15, **_DESCENT}),
    "skip_nonfinite": Fit(fit={"skip_nonfinite": True}),
    "zero_grad": Fit(fit={"zero_grad": True}),
    "max_norm, cosine": Fit(fit={"max_norm": 0.5, "schedule": "cosine"}),
    "max_norm, 26,000 weights": Fit(_LARGE, {}, {"max_norm": 0.5, **_DESCENT}),
    "max_norm, 270,400 weights": Fit(_LARGER, {}, {"max_norm": 0.5, "batch_size": 40}),
}


def fit_of(case, dtype, backend, threads):
    """Return the outcome of a training: the parameters, and what it gave in each epoch."""
    model = MLP(case.sizes, dtype=dtype, **case.model)
    x, outputs = inputs_of(case.rows, case.sizes[0]), case.sizes[-1]
    y = labels_of(case.rows, max(2, outputs)) if case.targets == "labels" else shares_of(case.rows, outputs)
    history = model.fit(x, y, backend=backend, threads=threads, **{**_FIT, **case.fit})
    epochs = [[result.train_loss, result.train_accuracy] for result in history]
    return Outcome(digest_of({"parameters": model.parameters}), epochs)


def training_cases():
    for dtype in DTYPES:
        for name, case in TRAININGS.items():
            yield f"training {dtype}, {name}", Case(partial(fit_of, case, dtype))


# The command line: the five textbook programs, and a run that is resumed

PROGRAMS = {
    "784-10-10-10": "--data images.npz --hidden 10 10 --rule adam --batch-size 32 --epochs 3",
    "logistic regression": "--data table.csv --target y --hidden --loss binary_cross_entropy --rule momentum_ema "
    "--lr 0.01 --beta 0.9 --clip-value 0.5 --batch-size 10 --epochs 3",
    "2-3-1 sigmoid": "--data points.csv --target y --regression --test points.csv --no-standardise --hidden 3 "
    "--activation sigmoid --output-activation sigmoid --init glorot --seed 1 --rule sgd --lr 5 --batch-size 1 "
    "--sampling random --epochs 40",
    "64-10 scaled and clipped": "--hidden --loss mean_squared_error --rule scaled_clip --eps 0.2 --epochs 3",
    "784-128-10 one sample a step": "--data images.npz --rule sgd --lr 0.01 --max-norm 1 --batch-size 1 --epochs 1",
}
RESUMED = "--hidden 24 --rule adamw --lr 0.003 --weight-decay 0.0625 --no-bias-decay --max-segment-norm 0.5"
FILES = {"images.npz", "table.csv", "points.csv"}


def write_data(folder):
    """Write the files that the programs are trained on."""
    images = (inputs_of(150, 784) * 256).astype("uint8")
    np.savez(folder / "images.npz", x=images, y=labels_of(150, 10))
    table = zip(inputs_of(120, 10).tolist(), labels_of(120, 2).tolist(), strict=True)
    points = [([a, b], a * b > 0) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
    for name, rows in {"table.csv": table, "points.csv": points}.items():
        lines = [",".join(map(str, (*x, int(y)))) for x, y in rows]
        header = ",".join([f"x{k}" for k in range(lines[0].count(","))] + ["y"])
        (folder / name).write_text("\n".join([header, *lines, ""]), encoding="utf-8")


def train(folder, *arguments):
    """Run ``fastopt train`` on the files in a folder and return the digest of the model it saved there as ``run``."""
    arguments = [str(folder / word) if word in {*FILES, "run"} else str(word) for word in arguments]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["train", "--quiet", *arguments]) == 0
    tensors = load_file(folder / "run" / "model.safetensors")
    return digest_of({name: x for name, x in tensors.items() if name.startswith("model/")})


def program_of(command, dtype, backend, threads):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        where = ("--dtype", dtype, "--backend", backend, "--threads", threads, "--out", "run")
        return Outcome(train(folder, *command.split(), *where))


def resumed_of(epochs, dtype, backend, threads):
    """Return the outcome of a run that is resumed for each but the first of the numbers of epochs."""
    with tempfile.TemporaryDirectory() as name:
        folder, (first, *others) = Path(name), epochs
        where = ("--dtype", dtype, "--backend", backend, "--threads", threads, "--out", "run")
        digest = train(folder, *RESUMED.split(), *where, "--epochs", first)
        for count in others:
            digest = train(folder, "--resume", "run", "--epochs", count)
        return Outcome(digest)


def command_line_cases():
    for dtype in DTYPES:
        for name, command in PROGRAMS.items():
            yield f"program {dtype}, {name}", Case(partial(program_of, command, dtype), threads=(1,))
        for name, epochs in {"in one go": (4,), "resumed": (2, 4)}.items():
            yield f"run {dtype}, {name}", Case(partial(resumed_of, epochs, dtype), threads=(1,))


# Comparing and recording

CASES = dict(sorted([*rule_cases(), *training_cases(), *command_line_cases()]))


@cache
def recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def test_the_record_has_every_case_and_no_other():
    assert list(recorded()["digests"]) == list(CASES)
    assert list(recorded()["epochs"]) == [name for name in CASES if name.startswith("training ")]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_record_of_a_resumed_run_is_that_of_one_in_one_go(dtype):
    digests = recorded()["digests"]
    assert digests[f"run {dtype}, resumed"] == digests[f"run {dtype}, in one go"]


@pytest.fixture
def _no_picture(monkeypatch):
    """A run draws its curves at its end, which takes most of a short one's time and changes no bit."""
    monkeypatch.setattr("fastopt.runs.run.plot_history", lambda *arguments: None)


@pytest.mark.usefixtures("_no_picture")
@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_recorded(name, compiled):
    for threads in CASES[name].threads:
        outcome = CASES[name].run(compiled, threads)
        assert outcome.digest == recorded()["digests"][name], f"{threads} threads"
        if outcome.epochs is not None:
            losses, accuracies = zip(*outcome.epochs, strict=True)
            expected_losses, expected_accuracies = zip(*recorded()["epochs"][name], strict=True)
            assert losses == pytest.approx(expected_losses, rel=1e-12, abs=0)
            assert accuracies == expected_accuracies


def outcome_everywhere(name):
    """Return the outcome of a case, which has to be one for both backends and all numbers of threads."""
    case = CASES[name]
    outcomes = {(b, threads): case.run(b, threads) for b in ("numba", "c") for threads in case.threads}
    if len({outcome.digest for outcome in outcomes.values()}) > 1:
        raise SystemExit(f"{name}: not recorded, since backends or threads differ: {outcomes}")
    return next(iter(outcomes.values()))


def record():
    """Write the outcomes of all cases, one a line."""
    outcomes = {name: outcome_everywhere(name) for name in CASES}
    fields = {
        "digests": {name: outcome.digest for name, outcome in outcomes.items()},
        "epochs": {name: outcome.epochs for name, outcome in outcomes.items() if outcome.epochs is not None},
    }
    text = ",\n".join(
        f'"{name}": {{\n'
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
        + "\n}"
        for name, values in fields.items()
    )
    RECORDED.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        raise SystemExit("expected --record, which writes recorded_bits.json again; to compare, use pytest")
    record()
