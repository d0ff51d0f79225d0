"""The command line: training on every kind of data, predicting, resuming, Ctrl-C, and the lists it prints."""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HYPER, needs
from safetensors.numpy import load_file

import fastopt.backends
from fastopt import RULES, __version__
from fastopt.backends import BACKENDS, get_backend, why_missing
from fastopt.cli import main
from fastopt.data import digits, load, split
from fastopt.runs.saved_run import load_model

LABELS = np.array(["ant", "bee", "cat"])
FIGURES = ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples_per_second", "lr"]
LEARNING = ("--lr", "0.03", "--hidden", "16", "--batch-size", "16")


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Return what runs a command in `tmp_path` and gives (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        return main(list(map(str, arguments))), *capsys.readouterr()

    return run


@pytest.fixture
def ok(cli):
    """Return what runs a command that must succeed with nothing on standard error, and gives its output."""

    def run(*arguments):
        status, out, err = cli(*arguments)
        assert (status, err) == (0, "")
        return out

    return run


def _history(folder):
    with Path(folder, "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _settings(folder):
    return json.loads(Path(folder, "settings.json").read_text())


def _tensors(folder):
    return {name: (x.dtype, x.tobytes()) for name, x in load_file(Path(folder, "model.safetensors")).items()}


def _rows(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


# With no argument


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """The folder that ``fastopt train`` runs in, and what it prints."""
    folder, out = tmp_path_factory.mktemp("default"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert main(["train"]) == 0
    return folder, out.getvalue()


def test_train_without_arguments_reads_the_digits(default_run):
    folder = default_run[0] / "runs" / "digits"
    assert sorted(os.listdir(folder)) == ["curves.png", "history.csv", "model.safetensors", "settings.json"]
    history = _history(folder)
    assert list(history[0]) == FIGURES
    assert [int(line["epoch"]) for line in history] == list(range(1, 21))
    assert float(history[-1]["test_accuracy"]) >= 0.97
    assert float(history[-1]["train_accuracy"]) >= 0.97
    assert float(history[-1]["test_loss"]) < float(history[0]["test_loss"])
    assert {float(line["lr"]) for line in history} == {0.001}
    assert min(float(line["samples_per_second"]) for line in history) > 0
    assert _settings(folder).items() >= {"data": None, "seed": 0, "test_fraction": 0.2, "rule": "adam"}.items()
    png = (folder / "curves.png").read_bytes()
    assert (png[:8], png[12:16], png[-8:-4]) == (b"\x89PNG\r\n\x1a\n", b"IHDR", b"IEND")


def test_train_prints_a_line_for_each_epoch(default_run):
    folder, out = default_run
    lines = re.findall(
        r"^epoch +(\d+)/20  train loss (\d\.\d{4}) accuracy +([\d.]+)%  test loss (\d\.\d{4}) accuracy +([\d.]+)%  "
        r"+([\d,]+) samples/s  lr ([\d.]+)$",
        out,
        re.MULTILINE,
    )
    assert len(lines) == 20
    for printed, kept in zip(lines, _history(folder / "runs" / "digits"), strict=True):
        scaled = [float(kept[name]) * (100 if "accuracy" in name else 1) for name in FIGURES]
        shown = [float(number.replace(",", "")) for number in printed]
        np.testing.assert_allclose(shown, scaled, rtol=1e-3, atol=0.5e-2)
    assert out.startswith("digits: 1,438 rows to train on, 359 to test on, 64 features\nMLP(64-128-10 relu, ")
    assert out.splitlines()[-1].startswith("saved in runs/digits: model.safetensors, ")


def test_quiet_prints_only_where(ok):
    assert ok("train", "--quiet", "--epochs", 1) == (
        "saved in runs/digits: model.safetensors, settings.json, history.csv, curves.png\n"
    )
    assert "saved in runs/digits-2: " in ok("train", "--quiet", "--epochs", 1)
    assert ok("train", "--quiet", "--epochs", 0, "--out", "none") == (
        "saved in none: model.safetensors, settings.json, history.csv\n"
    )


def test_a_seed_gives_the_same_bits_and_another_gives_others(ok):
    for out, seed in (("a", 5), ("b", 5), ("c", 6)):
        ok("train", "--epochs", 2, "--seed", seed, "--out", out)
    assert _tensors("a") == _tensors("b")
    assert [line["test_loss"] for line in _history("a")] == [line["test_loss"] for line in _history("b")]
    other = _tensors("c")
    assert not [name for name, tensor in _tensors("a").items() if tensor == other[name]]
    assert (_settings("a")["seed"], _settings("c")["seed"]) == (5, 6)


def test_the_seed_gives_the_first_weights_and_the_split(ok):
    for seed in (5, 6):
        ok("train", "--epochs", 0, "--seed", seed, "--out", seed)
    first, other = _tensors("5"), _tensors("6")
    changed = {name for name in first if first[name] != other[name]}
    weights = {"model/layers.0.weight", "model/layers.1.weight"}
    assert changed == weights | {"standardiser/mean", "standardiser/scale"}


# Options


@pytest.mark.parametrize("rule", RULES)
def test_hyper_parameters_reach_the_optimizer(rule, ok):
    options = []
    for name, value in HYPER[rule].items():
        options += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    ok("train", "--rule", rule, *options, "--epochs", 0, "--out", "run")
    saved = load_model(Path("run")).checkpoint.optimizer
    assert (saved["rule"], saved["hyper"]) == (rule, HYPER[rule])


def test_every_option_reaches_the_settings(ok):
    ok(
        *("train", "--test-fraction", 0.3, "--no-standardise", "--hidden", 9, 8, "--activation", "tanh"),
        *("--output-activation", "sigmoid", "--loss", "mean_squared_error", "--init", "glorot", "--dtype", "float64"),
        *("--kink", 0.5, "--rule", "adamw", "--lr", 0.01, "--set", "betas=0.8,0.9", "--no-bias-decay"),
        *("--clip-value", 3, "--max-norm", 2, "--max-segment-norm", 4, "--skip-nonfinite", "--backend", "reference"),
        *("--threads", 2, "--epochs", 1, "--batch-size", "all", "--sampling", "random", "--schedule", "linear"),
        *("--seed", 4, "--out", "run"),
    )
    assert _settings("run") == {
        "data": None, "target": None, "regression": False, "test": None, "test_fraction": 0.3, "standardise": False,
        "hidden": [9, 8], "activation": "tanh", "output_activation": "sigmoid", "loss": "mean_squared_error",
        "init": "glorot", "dtype": "float64", "kink": 0.5, "rule": "adamw", "hyper": {"lr": 0.01, "betas": [0.8, 0.9]},
        "bias_decay": False, "clip_value": 3.0, "max_norm": 2.0, "max_segment_norm": 4.0, "skip_nonfinite": True,
        "states": None, "rounding": "nearest", "backend": "reference", "epochs": 1, "batch_size": None,
        "sampling": "random", "schedule": "linear", "seed": 4,
    }  # fmt: skip
    saved = load_model(Path("run"))
    assert (saved.checkpoint.optimizer["step"], saved.standardiser) == (1, None)
    assert saved.checkpoint.model.sizes == (64, 9, 8, 10)


def test_the_options_change_the_training(ok):
    variants = {
        "decay": ("--weight-decay", 0.1),
        "weights": ("--weight-decay", 0.1, "--no-bias-decay"),
        "clip": ("--clip-value", 1e-3),
        "norm": ("--max-norm", 1e-3),
        "segment": ("--max-segment-norm", 1e-3),
        "whole": ("--batch-size", "all"),
        "linear": ("--hidden",),
        "random": ("--sampling", "random"),
        "cosine": ("--schedule", "cosine"),
        "plain": (),
    }
    for name, options in variants.items():
        ok("train", "--rule", "sgd", "--lr", 0.1, "--epochs", 1, *options, "--out", name)
    assert len({_history(name)[0]["test_loss"] for name in variants}) == len(variants)


@pytest.mark.filterwarnings("ignore:.* encountered in .*:RuntimeWarning")
def test_steps_that_are_left_out_are_reported(cli):
    arguments = ("train", "--rule", "sgd", "--lr", 1e30, "--skip-nonfinite", "--epochs", 2)
    status, out, err = cli(*arguments)
    skipped = load_model(Path("runs/digits")).checkpoint.optimizer["skipped"]
    assert (status, err) == (0, f"{skipped} steps skipped: their gradient was not finite\n")
    assert 80 < skipped < 90
    assert "train loss nan" in out


# Own data


def _points(rows=120):
    """Return points of four features, and the label of the largest of the first three."""
    x = np.random.default_rng(0).integers(0, 256, (rows, 4)).astype(np.uint8)
    return x, LABELS[x[:, :3].argmax(axis=1)]


def _write_csv(path, x, targets, names="abcd", target="kind"):
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        rows = ([*values, label] for values, label in zip(x.tolist(), targets, strict=True))
        csv.writer(file).writerows([[*names, target], *rows])


def _write_idx(folder, x, y, part="train", zipped=False):
    folder.mkdir(exist_ok=True)
    images = x.reshape(len(x), 2, 2)
    for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", y.astype(np.uint8))):
        header = (0x800 + values.ndim).to_bytes(4, "big") + np.array(values.shape, ">u4").tobytes()
        content = header + values.tobytes()
        (folder / f"{name}{'.gz' * zipped}").write_bytes(gzip.compress(content) if zipped else content)


def _npz(folder, x, labels):
    np.savez(folder / "points.npz", x=x, y=labels)
    return "points.npz"


def _npz_with_test(folder, x, labels):
    np.savez(folder / "points.npz", x_train=x[:90], y_train=labels[:90], x_test=x[90:], y_test=labels[90:])
    return "points.npz"


def _npy(folder, x, labels):
    np.save(folder / "points.npy", x)
    np.save(folder / "points_labels.npy", labels)
    return "points.npy"


def _pair(folder, x, labels):
    np.save(folder / "points.npy", x)
    np.save(folder / "other.npy", labels)
    return "points.npy,other.npy"


def _csv(folder, x, labels):
    _write_csv(folder / "points.csv", x, labels)
    return "points.csv"


def _csv_gz(folder, x, labels):
    _write_csv(folder / "points.csv.gz", x, labels)
    return "points.csv.gz"


def _folder(folder, x, labels, zipped=False):
    codes = np.searchsorted(LABELS, labels)
    _write_idx(folder / "points", x[:90], codes[:90], "train", zipped)
    _write_idx(folder / "points", x[90:], codes[90:], "t10k", zipped)
    return "points"


def _folder_gz(folder, x, labels):
    return _folder(folder, x, labels, zipped=True)


def _images(folder, x, labels):
    _write_idx(folder / "points", x, np.searchsorted(LABELS, labels))
    return "points/train-images-idx3-ubyte"


FORMATS = (_npz, _npz_with_test, _npy, _pair, _csv, _csv_gz, _folder, _folder_gz, _images)


@pytest.mark.parametrize("write", FORMATS)
def test_train_and_predict_on_each_format(write, ok, tmp_path):
    data = write(tmp_path, *_points())
    target = ("--target", "kind") if "csv" in data else ()
    out = ok("train", "--data", data, *target, *LEARNING)
    (folder,) = Path("runs").iterdir()
    has_test = write in (_npz_with_test, _folder, _folder_gz)
    train, test = (90, 30) if has_test else (96, 24)
    assert f": {train} rows to train on, {test} to test on, 4 features" in out
    assert float(_history(folder)[-1]["test_accuracy"]) >= 0.8
    assert _settings(folder)["data"] == data

    out = ok("predict", folder, data)
    rows = _rows(folder / "predictions.csv")
    # Of data with a test part, that part is predicted.
    expected = _points()[1][-len(rows) :]
    named = dict(zip("012", LABELS, strict=True)) if "idx" in data or write in (_folder, _folder_gz) else {}
    right = np.mean([named.get(row["prediction"], row["prediction"]) for row in rows] == expected)
    assert out.splitlines() == [
        f"accuracy {right:.2%}",
        f"{30 if has_test else 120} predictions in {folder}/predictions.csv",
    ]
    assert right >= 0.8
    for row in rows:
        probabilities = {name: float(value) for name, value in row.items() if name != "prediction"}
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        assert max(probabilities, key=probabilities.get) == f"probability_{row['prediction']}"


def test_a_memory_map_and_arrays_end_in_the_same_bits(ok, tmp_path):
    for write in (_npz, _npy):
        ok("train", "--data", write(tmp_path, *_points()), *LEARNING, "--out", write.__name__)
    assert isinstance(load("points.npy")[0].inputs, np.memmap)
    assert _tensors("_npz") == _tensors("_npy")
    assert [line["test_loss"] for line in _history("_npz")] == [line["test_loss"] for line in _history("_npy")]


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (lambda x: x[:, 0] / 16 + x[:, 1] / 32, ()),  # with fractions: quantities without saying so
        (lambda x: x[:, 0].astype(int) + x[:, 1], ("--regression",)),
    ],
)
def test_regression_on_a_table(targets, options, ok, tmp_path):
    x = _points()[0]
    y = targets(x.astype(float))
    _write_csv(tmp_path / "points.csv", x, y.tolist(), target="price")
    out = ok("train", "--data", "points.csv", "--target", "price", *options, *LEARNING, "--epochs", 300, "--out", "run")
    assert "accuracy" not in out
    history = _history("run")
    assert history[-1]["test_accuracy"] == history[-1]["train_accuracy"] == ""
    assert float(history[-1]["test_loss"]) < 0.1 * y.var()

    out = ok("predict", "run", "points.csv", "--out", "predictions.csv")
    predictions = np.array([float(row["prediction"]) for row in _rows("predictions.csv")])
    assert out.startswith("mean squared error ")
    assert float(out.split()[3]) == pytest.approx(np.mean((predictions - y) ** 2), rel=1e-4)
    _write_csv(tmp_path / "whole.csv", x[:3], [10, 20, 30], target="price")
    assert ok("predict", "run", "whole.csv").startswith("mean squared error ")


def test_whole_numbers_are_classes_without_regression(ok, tmp_path):
    x = _points()[0]
    _write_csv(tmp_path / "points.csv", x, (10 * x[:, :3].argmax(axis=1)).tolist())
    ok("train", "--data", "points.csv", "--target", "kind", "--epochs", 1)
    assert load_model(Path("runs/points")).classes == ("0", "10", "20")


def test_the_test_data_may_have_its_columns_in_another_order(ok, tmp_path):
    x, labels = _points()
    _write_csv(tmp_path / "train.csv", x[:80], labels[:80])
    _write_csv(tmp_path / "test.csv", x[80:], labels[80:])
    _write_csv(tmp_path / "turned.csv", x[80:, ::-1], labels[80:], names="dcba")
    for name in ("test", "turned"):
        out = ok("train", "--data", "train.csv", "--target", "kind", "--test", f"{name}.csv", "--out", name)
        assert "80 rows to train on, 40 to test on" in out
    figures = [[line["test_loss"] for line in _history(name)] for name in ("test", "turned")]
    assert figures[0] == figures[1]


@pytest.mark.skipif("FASTOPT_MNIST" not in os.environ, reason="FASTOPT_MNIST does not name a folder with MNIST's t10k")
def test_mnist_with_default_settings(ok):
    data, test = load(os.environ["FASTOPT_MNIST"])
    if test is not None:
        np.savez("mnist.npz", x=test.inputs, y=test.targets)
    out = ok("train", "--data", os.environ["FASTOPT_MNIST"] if test is None else "mnist.npz", "--out", "run")
    assert ": 8,000 rows to train on, 2,000 to test on, 784 features" in out
    assert len(data) >= 10_000
    assert float(_history("run")[-1]["test_accuracy"]) >= 0.95


# Predicting


def test_predicting_the_test_part_gives_the_accuracy_of_the_history(default_run, ok):
    test = split(digits(), 0.2, seed=0)[1]
    np.savez("test.npz", x=test.inputs, y=test.targets)
    out = ok("predict", default_run[0] / "runs" / "digits", "test.npz", "--out", "predictions.csv")
    accuracy = float(_history(default_run[0] / "runs" / "digits")[-1]["test_accuracy"])
    assert out.splitlines() == [f"accuracy {accuracy:.2%}", "359 predictions in predictions.csv"]


def test_predictions_need_no_targets_and_find_their_columns(ok, tmp_path):
    x, labels = _points()
    _write_csv(tmp_path / "points.csv", x, labels)
    _write_csv(tmp_path / "turned.csv", x[:, ::-1], ["x"] * len(x), names="dcba", target="id")
    np.save(tmp_path / "alone.npy", x)
    ok("train", "--data", "points.csv", "--target", "kind", *LEARNING, "--out", "run")
    assert ok("predict", "run", "points.csv", "--out", "a.csv").startswith("accuracy")
    for data, out in (("turned.csv", "b.csv"), ("alone.npy", "c.csv")):
        assert ok("predict", "run", data, "--out", out) == f"120 predictions in {out}\n"
        assert Path(out).read_bytes() == Path("a.csv").read_bytes()
    ok("predict", "run/model.safetensors", "points.csv")
    assert Path("run/predictions.csv").read_bytes() == Path("a.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ((), "prediction,probability_ant,probability_not"),
        (("--loss", "binary_cross_entropy"), "prediction,probability_not"),
        (("--loss", "mean_squared_error"), "prediction"),
    ],
)
def test_two_classes_with_each_loss(options, header, ok, tmp_path):
    x, labels = _points()
    labels = np.where(labels == "ant", "ant", "not")
    _write_csv(tmp_path / "points.csv", x, labels)
    ok("train", "--data", "points.csv", "--target", "kind", *LEARNING, *options, "--out", "run")
    out = ok("predict", "run", "points.csv")
    assert Path("run/predictions.csv").read_text().startswith(f"{header}\n")
    rows = _rows("run/predictions.csv")
    right = np.mean([row["prediction"] for row in rows] == labels)
    assert right > 0.9
    assert out.startswith(f"accuracy {right:.2%}\n")
    if header.endswith("_not"):
        assert all((float(row["probability_not"]) > 0.5) == (row["prediction"] == "not") for row in rows)


def test_two_outputs_of_regression_have_two_columns(ok):
    x = _points()[0] / 64
    np.savez("points.npz", x=x, y=x[:, :2])
    ok("train", "--data", "points.npz", *LEARNING, "--out", "run")
    ok("predict", "run", "points.npz")
    rows = _rows("run/predictions.csv")
    assert list(rows[0]) == ["prediction_0", "prediction_1"]
    np.testing.assert_allclose([[float(value) for value in row.values()] for row in rows], x[:, :2], atol=2.0)


# Resuming


def _figures(folder):
    return [{**line, "samples_per_second": ""} for line in _history(folder)]


def test_resume_adds_epochs_in_the_same_bits(ok):
    ok("train", "--epochs", 4, "--out", "straight", "--quiet")
    ok("train", "--epochs", 2, "--out", "parts", "--quiet")
    out = ok("train", "--resume", "parts", "--epochs", 4, "--threads", 2)
    assert re.findall(r"^epoch (\d)/4", out, re.MULTILINE) == ["3", "4"]
    assert _tensors("parts") == _tensors("straight")
    assert _figures("parts") == _figures("straight")
    assert _settings("parts") == _settings("straight")


@pytest.mark.parametrize("epochs", [(), ("--epochs", 2)])
def test_resuming_a_finished_run_changes_nothing(epochs, ok):
    ok("train", "--epochs", 2, "--out", "run", "--quiet")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    assert ok("train", "--resume", "run", "--quiet", *epochs).startswith("run: all 2 epochs are done; train longer")
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_the_model_is_as_readable_as_any_new_file(ok):
    ok("train", "--epochs", 1, "--out", "run", "--quiet")
    assert Path("run/model.safetensors").stat().st_mode == Path("run/settings.json").stat().st_mode
    Path("any").touch()
    assert Path("run/model.safetensors").stat().st_mode == Path("any").stat().st_mode


_INTERRUPTED = r"interrupted; saved in (.+); continue with: fastopt train --resume \1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of another process is a signal of POSIX")
def test_ctrl_c_saves_and_resume_ends_in_the_same_bits(ok, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(Path(fastopt.__file__).parents[1])
    command = [sys.executable, "-m", "fastopt", "train", "--epochs", "100000", "--out", str(tmp_path / "stopped")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        while not process.stdout.readline().startswith("epoch"):  # each comes as it is made, also through a pipe
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(_INTERRUPTED, err)
    assert "saved in" not in rest

    position = load_model(Path("stopped")).position
    assert 1 <= position.epoch < 100_000
    epochs = position.epoch + 2
    ok("train", "--resume", "stopped", "--epochs", epochs, "--quiet")
    ok("train", "--epochs", epochs, "--out", "straight", "--quiet")
    assert _tensors("stopped") == _tensors("straight")
    assert _figures("stopped") == _figures("straight")


def test_ctrl_c_in_the_first_epoch_saves_too(cli, monkeypatch):
    def interrupt(self, position):
        if position.step == 3 and not position.epoch:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("fastopt.train.ProgressBar.__call__", interrupt)
        status, _, err = cli("train", "--epochs", 2)
    assert status == 130
    assert re.fullmatch(_INTERRUPTED, err)
    assert load_model(Path("runs/digits")).position.step == 3
    assert not Path("runs/digits/curves.png").exists()
    assert cli("train", "--resume", "runs/digits", "--quiet")[::2] == (0, "")
    assert len(_history("runs/digits")) == 2
    assert Path("runs/digits/curves.png").exists()


# Own rules


@needs("numba")
def test_a_rule_of_ones_own(ok):
    source = "from fastopt import fma, rule\n\n@rule\ndef heavy_ball(p, g, velocity, *, lr=0.01, drag=0.0):\n"
    source += "    velocity = fma(drag, velocity, g)\n    return fma(-lr, velocity, p), velocity\n"
    Path("mine.py").write_text(source)
    for out, more in (("a", ()), ("b", ("--set", "drag=0.9"))):
        ok("train", "--rule", "mine.py:heavy_ball", "--lr", 0.02, *more, "--epochs", 2, "--out", out)
    assert _settings("b")["hyper"] == {"lr": 0.02, "drag": 0.9}
    assert "optimizer/velocity/layers.0.weight" in _tensors("b")
    assert float(_history("b")[-1]["train_loss"]) < 0.7 * float(_history("a")[-1]["train_loss"])
    ok("train", "--rule", "sgd", "--lr", 0.02, "--epochs", 2, "--out", "sgd")
    assert _figures("a") == _figures("sgd")
    ok("train", "--resume", "b", "--epochs", 3)
    assert len(_history("b")) == 3


# rules, info, version, help


STAGED_BYTES = {"lamb": 40, "muon": 32, "prodigy": 52}
"""Of the rules that sweep more than once: read and written in float32, by hand."""


def test_rules_lists_every_rule_with_equation_states_and_bytes(ok):
    blocks = ok("rules").strip().split("\n\n")[1:]
    assert len(blocks) == len(RULES)
    for block, rule in zip(blocks, RULES.values(), strict=True):
        name, equation, state, hyper = block.split("\n")
        assert (name, equation.strip()) == (rule.name, rule.equation)
        size = STAGED_BYTES.get(rule.name, 12 + 8 * len(rule.states))
        assert state.strip() == f"state: {', '.join(rule.states) or 'none'}; {size} bytes"
        decay = f"; {rule.decay} decay" if rule.decay else ""
        assert hyper.strip() == ", ".join(f"{k}={v}" for k, v in rule.hyper.items()) + decay


@pytest.fixture
def missing(monkeypatch):
    """Return what makes the import of backends fail; the caches are emptied before and after."""

    def hide(*names):
        import_module = fastopt.backends.import_module

        def fail(name):
            if name.rpartition(".")[2] in names:
                raise ImportError(f"No module named {name!r}")
            return import_module(name)

        monkeypatch.setattr(fastopt.backends, "import_module", fail)
        _forget()

    yield hide
    _forget()


def _forget():
    get_backend.cache_clear()
    why_missing.cache_clear()


def test_info_names_each_backend(ok):
    out = ok("info")
    assert out.startswith(f"fastopt\n    {__version__}\n\nbackends\n")
    for name in BACKENDS:
        line = re.search(rf"^    {name} +(.+)$", out, re.MULTILINE)[1]
        assert len(line) > 5
        assert ("missing" in line) == (why_missing(name) is not None)
    assert f"\n    default    {fastopt.backends.default_backend()}\n" in out
    assert f"\n    python     {sys.version.split()[0]}\n" in out
    assert f"\n    numpy      {np.__version__}\n" in out


@pytest.mark.parametrize("name", ["numba", "c"])
def test_info_says_why_a_backend_is_missing(name, missing, ok):
    missing(name)
    out = ok("info")
    assert re.search(
        rf"^    {name} +the {name} backend is missing: No module named .*; {BACKENDS[name][2]}$", out, re.MULTILINE
    )
    other = {"numba": "c", "c": "numba"}[name]
    if why_missing(other) is None:
        assert f"\n    default    {other}\n" in out


def test_without_a_compiled_backend_info_and_train_say_so(missing, ok, cli):
    missing("numba", "c")
    assert re.search(r"^    default    none: no compiled backend: .*reference", ok("info"), re.MULTILINE)
    status, out, err = cli("train")
    assert (status, out) == (1, "")
    assert err.startswith("fastopt train: error: no compiled backend: ")
    assert "pip install numba" in err
    assert not Path("runs").exists()
    assert "on reference" in ok("train", "--backend", "reference", "--epochs", 1, "--hidden", 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--version"], f"fastopt {__version__}\n"),
        (["--help"], "usage: fastopt [-h]"),
        *(([command, "--help"], f"usage: fastopt {command} ") for command in ("train", "predict", "rules", "info")),
    ],
)
def test_version_and_help_exit_with_0(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    assert out.startswith(words)


def test_help_of_train_names_every_choice_and_hyper_parameter(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    for word in ("cosine", "leaky_relu", "glorot", "binary_cross_entropy", "shuffle", "float64", "reference"):
        assert word in out
    for rule in RULES.values():
        for name in rule.hyper:
            assert f"--{name.replace('_', '-')} " in out


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fastopt", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fastopt {__version__}\n"


def test_bench_with_options_alone_is_bench_step(ok):
    options = [
        "--rule",
        "rmsprop",
        "--dtype",
        "float64",
        "--sizes",
        "100",
        "--kinds",
        "step",
        "--peers",
        "none",
        "--quick",
    ]
    for command in (("bench", "step"), ("bench",)):
        assert "rmsprop, float64" in ok(*command, *options)
