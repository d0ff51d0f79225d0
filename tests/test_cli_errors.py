"""Errors of the command line: exit status 1, one line that says what is wrong, nothing left behind."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import needs
from safetensors.numpy import save_file

from fastopt.cli import main

HEADER = "a,b,kind"


def _arrays(rows=60):
    x = np.random.default_rng(0).normal(size=(rows, 3))
    return {"x": x, "y": np.arange(rows) % 2}


def _with(name, index, value):
    """Return the arrays with one value replaced."""
    arrays = _arrays()
    arrays[name] = arrays[name].astype(float)
    arrays[name][index] = value
    return arrays


ARRAYS = {
    "good": _arrays(),
    "nan": _with("x", (3, 2), np.nan),
    "inf": _with("y", 5, np.inf),
    "huge": _with("x", (3, 2), 1e300),
    "empty": {"x": np.zeros((0, 3)), "y": np.zeros(0, int)},
    "unequal": {**_arrays(), "y": np.zeros(3, int)},
    "few": {**_arrays(), "y": np.arange(60) // 59},
    "one_class": {**_arrays(), "y": np.zeros(60, int)},
    "unseen": {f"{k}_train": v for k, v in _arrays().items()} | {"x_test": np.zeros((2, 3)), "y_test": [1, 7]},
    "other_width": {f"{k}_train": v for k, v in _arrays().items()} | {"x_test": np.zeros((2, 4)), "y_test": [1, 0]},
    "objects": {"x": np.array([[1, {}]], object), "y": np.zeros(1, int)},
    "wide": {"x": np.zeros((2, 4))},
    "targets": {"x": np.zeros((2, 3)), "y": np.array([0, 5])},
    "real": {"x": np.zeros((2, 3)), "y": np.array([0.5, 1.5])},
    "values": {"x": np.zeros((60, 3)), "y": np.arange(60) / 8},
    "pairs": {"x": np.zeros((2, 3)), "y": np.zeros((2, 2))},
    "nan_alone": {"x": np.full((2, 3), np.nan)},
}

TEXTS = {
    "table.csv": f"{HEADER}\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n",
    "header.csv": f"{HEADER}\n",
    "empty.csv": "",
    "words.csv": f"{HEADER}\n1,red,x\n3,4,y\n",
    "short.csv": f"{HEADER}\n1,2,x\n3,y\n",
    "notes.txt": "nothing",
    "no_zip.npz": "nothing",
    "empty.py": "x = 1\n",
    "two.py": "from fastopt import rule\n@rule\ndef one(p, g, *, lr=0.1): return p - lr * g\n"
    "@rule\ndef two(p, g, *, lr=0.1): return p - lr * g\n",
    "wrong.py": "from fastopt import rule\n@rule\ndef half(p, g, *, lr=0.1): return p - lr * unheard_of(g)\n",
    "no_lr.py": "from fastopt import rule\n@rule\ndef fixed(p, g, *, rate=0.1): return p - rate * g\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the data above, and with runs, whole and damaged."""
    folder = tmp_path_factory.mktemp("errors")
    with contextlib.chdir(folder):
        for name, arrays in ARRAYS.items():
            np.savez(f"{name}.npz", **arrays)
        for name, text in TEXTS.items():
            Path(name).write_text(text)
        Path("rows.npy").write_bytes(b"")
        for name in ("none", "full", "cut", "noise", "foreign"):
            Path(name).mkdir()
        Path("full/kept.txt").write_text("kept")
        for name, data in (("run", "good.npz"), ("values_run", "values.npz")):
            assert main(["train", "--quiet", "--data", data, "--epochs", "1", "--out", name]) == 0
        Path("cut/model.safetensors").write_bytes(Path("run/model.safetensors").read_bytes()[:-10])
        Path("noise/model.safetensors").write_bytes(np.random.default_rng(0).bytes(500))
        save_file({"w": np.zeros(3)}, "foreign/model.safetensors")
    return folder


def _files(folder):
    """Return the bytes of each file; what Python caches beside a rule is no part of it."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {path: path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def fails(folder, monkeypatch, capsys):
    """Return what runs a command that must fail as the first line of this file says, and gives its error."""
    monkeypatch.chdir(folder)

    def run(*arguments, status=1):
        before = _files(folder)
        capsys.readouterr()
        try:
            got = main(list(map(str, arguments)))
        except SystemExit as error:
            got = error.code
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert (got, out) == (status, "")
        assert len(lines) == 1 or status == 2  # argparse shows its usage above
        assert lines[-1].startswith(f"fastopt {arguments[0]}: error: ")
        assert _files(folder) == before
        return lines[-1].partition("error: ")[2]

    return run


def _data(name, *more):
    return ("--data", name, *more)


TABLE = ("--data", "table.csv", "--target")

TRAIN = [
    # data
    (_data("nowhere.npz"), "nowhere.npz: no such file or folder"),
    (_data("godo.npz"), "did you mean good.npz?"),
    (_data("notes.txt"), "notes.txt: got a file of unknown kind, expected .npz"),
    (_data("no_zip.npz"), "no_zip.npz: got a file that starts with b'nothin'"),
    (_data("rows.npy"), "rows.npy"),
    (_data("none"), "got a folder with nothing, expected MNIST's file names"),
    (_data("nan.npz"), "got 1 input value NaN or infinite, first nan in row 3, column 2"),
    (_data("inf.npz"), "got 1 target value NaN or infinite, first inf in row 5"),
    (_data("huge.npz", "--no-standardise"), "huge: got 1 "),
    (_data("empty.npz"), "empty: got no data: 0 rows of 3 features"),
    (_data("unequal.npz"), "got 60 rows of inputs and 3 targets"),
    (_data("few.npz"), "few: got too few rows of class '1"),
    (_data("one_class.npz"), "expected at least 2"),
    (_data("unseen.npz"), "unseen-test: got the label '7', expected only labels seen in training: '0', '1'"),
    (_data("other_width.npz"), "other_width-test: got 4 features, expected 3 as in the training part"),
    (_data("objects.npz"), "got an array of Python objects, expected numbers"),
    (_data("table.csv"), "got no target, expected the column to predict, one of 'a', 'b', 'kind'"),
    ((*TABLE, "kinf"), "unknown target column of table.csv 'kinf': did you mean 'kind'?"),
    (_data("good.npz", "--target", "y"), "names a column of a CSV file; leave it out"),
    (_data("header.csv", "--target", "kind"), "got a header and no rows"),
    (_data("empty.csv", "--target", "kind"), "got an empty first row"),
    (_data("words.csv", "--target", "kind"), "row 1 (the header not counted), column 'b': got 'red'"),
    (_data("short.csv", "--target", "kind"), "row 2 (the header not counted): got 2 cells, expected 3"),
    ((*TABLE, "kind", "--regression"), "expected a finite number"),
    (_data("good.npz", "--test", "nowhere.npz"), "nowhere.npz: no such file"),
    (_data("good.npz", "--test", "wide.npz"), "wide.npz: has no targets to test on"),
    (_data("good.npz", "--test", "targets.npz"), "targets: got the label '5', expected only labels seen in training"),
    (("--test-fraction", 0), "test_fraction: got 0.0, expected a number between 0 and 1"),
    (("--test-fraction", 1.5), "test_fraction: got 1.5"),
    (("--test-fraction", "nan"), "test_fraction: got nan"),
    # names, with the nearest
    (("--rule", "adm"), "unknown rule 'adm': did you mean 'adam'?"),
    (("--activation", "rleu"), "unknown activation 'rleu': did you mean 'relu'?"),
    (("--output-activation", "sigmod"), "unknown activation 'sigmod': did you mean 'sigmoid'?"),
    (("--loss", "softmax"), "unknown loss 'softmax': did you mean 'softmax_cross_entropy'?"),
    (("--init", "hee"), "unknown initialiser 'hee': did you mean 'he'?"),
    (("--sampling", "shufle"), "unknown sampling 'shufle': did you mean 'shuffle'?"),
    (("--schedule", "cosin"), "unknown schedule 'cosin': did you mean 'cosine'?"),
    (("--backend", "nunba"), "unknown backend 'nunba': did you mean 'numba'?"),
    (("--dtype", "float16"), "unknown dtype 'float16': did you mean 'float64'? known are float32, float64"),
    # numbers
    (("--lr", -1), "adam: got lr=-1.0, expected a number that is not negative"),
    (("--lr", "nan"), "adam: got lr=nan, expected a finite number"),
    (("--lr", "inf"), "adam: got lr=inf"),
    (("--betas", 0.9, 1), "betas"),
    (("--set", "momentum=0.9"), "unknown hyper-parameter of adam 'momentum': known are betas, eps, lr, weight_decay"),
    (("--set", "weight_deacy=1"), "did you mean 'weight_decay'?"),
    (("--set", "lr=1,2"), "adam: got lr=(1.0, 2.0), expected one number"),
    (("--batch-size", 1439), "batch_size: got 1439, expected at most 1438, the rows of the training data"),
    (("--batch-size", 0), "batch_size: got 0, expected a whole number from 1"),
    (("--hidden", 0), "hidden[0]: got 0, expected a whole number from 1"),
    (("--hidden", 8, -3), "hidden[1]: got -3"),
    (("--epochs", -1), "epochs: got -1, expected a whole number from 0"),
    (("--seed", -1), "seed: got -1"),
    (("--seed", 1 << 64), f"seed: got {1 << 64}"),
    (("--threads", 0), "threads: got 0, expected a whole number from 1"),
    (("--kink", 2), "kink: got 2.0, expected a number from 0 to 1"),
    (("--max-norm", 0), "max_norm: got 0.0, expected a positive finite number"),
    (("--clip-value", -1), "clip_value: got -1.0"),
    (("--max-segment-norm", "inf"), "max_segment_norm: got inf"),
    # what does not go together
    (("--loss", "binary_cross_entropy"), "binary_cross_entropy is for two classes, digits has 10"),
    (("--regression", "--loss", "softmax_cross_entropy"), "expected at least 2"),
    (("--output-activation", "tanh"), "softmax_cross_entropy"),
    # own rules
    (("--rule", "nofile.py:x"), "there is no file nofile.py"),
    (("--rule", "empty.py:x"), "empty.py defines no rule; decorate a function with @fastopt.rule"),
    (("--rule", "two.py:too"), "unknown rule in two.py 'too': did you mean 'two'?"),
    (("--rule", "two.py"), "known are one, two"),
    (("--rule", "no_lr.py:fixed"), ", expected lr among them"),
    (("--rule", "two.py:one", "--set", "x=1"), "unknown hyper-parameter of one 'x'"),
    (("--rule", "wrong.py:half", "--backend", "c"), "unheard_of"),
    # folders
    (("--out", "full"), "full exists already; choose another folder with --out"),
    (("--out", "notes.txt"), "notes.txt exists already"),
    (("--out", "notes.txt/run"), "notes.txt"),
    (("--resume", "nothing"), "nothing: there is no run here; expected a folder with model.safetensors in it"),
    (("--resume", "none"), "none: there is no run here"),
    (("--resume", "cut"), "cut/model.safetensors: is not a complete safetensors file"),
    (("--resume", "noise"), "noise/model.safetensors: is not a complete safetensors file"),
    (("--resume", "foreign"), "is a safetensors file, but not one that fastopt saved"),
    (("--resume", "run", "--lr", 1, "--out", "x"), "leave out --lr, --out, or start a new run"),
    (("--resume", "run", "--no-standardise", "--no-bias-decay"), "--no-bias-decay, --no-standardise,"),
    (("--resume", "run", "--batch-size", "all"), "leave out --batch-size,"),
    (("--resume", "run", "--epochs", 0), "run: got epochs=0, but 1 are done; ask for more than these"),
    (("--resume", "run", "--threads", 0), "threads: got 0"),
]


@pytest.mark.parametrize(("arguments", "words"), TRAIN, ids=[" ".join(map(str, given)) for given, _ in TRAIN])
def test_train(arguments, words, fails):
    assert words in fails("train", *arguments)


@needs("numba")
def test_a_rule_of_ones_own_that_does_not_compile(fails):
    assert "rule half does not compile for float32" in fails("train", "--rule", "wrong.py:half", "--backend", "numba")


PREDICT = [
    ("nothing", "good.npz", "nothing: there is no run here"),
    ("cut", "good.npz", "is not a complete safetensors file"),
    ("run", "nowhere.npz", "nowhere.npz: no such file"),
    ("run", "wide.npz", "wide.npz: got 4 features per row, expected 3, the model's"),
    ("run", "nan_alone.npz", "NaN"),
    ("run", "targets.npz", "targets: got the label '5', expected only labels seen in training"),
    ("run", "real.npz", "real: got targets for regression, expected targets for classification"),
    ("run", "empty.npz", "empty: got no data"),
    ("values_run", "pairs.npz", "pairs: got 2 targets per row, expected 1, the model's"),
]


@pytest.mark.parametrize(("run", "data", "words"), PREDICT)
def test_predict(run, data, words, fails):
    assert words in fails("predict", run, data, "--out", "predictions.csv")


def test_predict_into_a_folder_that_is_not_there(fails):
    assert "nowhere/p.csv" in fails("predict", "run", "good.npz", "--out", "nowhere/p.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--betas", 0.9), "argument --betas: expected 2 arguments"),
        (("--lr", "x"), "argument --lr: invalid float value: 'x'"),
        (("--epochs", 1.5), "argument --epochs: got '1.5', expected a whole number from 0"),
        (("--batch-size", "x"), "argument --batch-size: got 'x', expected a whole number from 1, or 'all'"),
        (
            ("--momentum", 0.9),
            "unknown option --momentum: the hyper-parameters of adam are lr, betas, eps",
        ),
        (("--epoch", 3), "unknown option --epoch: did you mean --epochs?"),
        (("extra",), "unexpected argument 'extra'"),
        (("--set", "x"), "argument --set: got 'x', expected NAME=NUMBER"),
        (("--set", "x=y"), "argument --set: got 'x=y', expected NAME=NUMBER"),
    ],
)
def test_arguments_that_cannot_be_read_exit_with_2(arguments, words, fails):
    assert words in fails("train", *arguments, status=2)


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "--nothing"], ["rules", "adam", "sgd"]])
def test_unknown_commands_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_resume_without_its_data(fails, folder):
    (folder / "good.npz").rename(folder / "moved.npz")
    try:
        assert "good.npz: no such file" in fails("train", "--resume", "run")
    finally:
        (folder / "moved.npz").rename(folder / "good.npz")


def _command():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return [sys.executable, "-m", "fastopt"], environment


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_rules_into_head_is_the_first_line():
    command, environment = _command()
    done = subprocess.run(
        ["sh", "-c", f"'{command[0]}' -m fastopt rules | head -n 1"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [["rules"], ["info"], ["train", "--epochs", "1"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_traceback(arguments, unbuffered, tmp_path):
    command, environment = _command()
    if unbuffered:
        environment["PYTHONUNBUFFERED"] = "1"
    if "train" in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        process.stdout.close()  # long before anything is written
        err = process.stderr.read()
    assert err == ""


@pytest.mark.parametrize("command", ["train", "predict", "rules", "info"])
def test_ctrl_c_while_loading_is_one_word(command, monkeypatch, capsys):
    def interrupt(parsed):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fastopt.commands.{command}.run", interrupt)
    arguments = ["run", "data"] if command == "predict" else []
    assert main([command, *arguments]) == 130
    assert re.fullmatch("interrupted\n", capsys.readouterr().err)
