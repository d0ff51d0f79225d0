"""Settings: one description gives the check in Python, the options of the command line and the check of a saved run."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import needs
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fastopt import RULES
from fastopt.cli import main
from fastopt.data import digits
from fastopt.rules.user_file import load_rule
from fastopt.runs.checkpoint import sealed
from fastopt.runs.saved_run import load_model
from fastopt.runs.settings import Settings

WRONG = {
    "test_fraction": (1.0, "test_fraction: got 1.0, expected a number between 0 and 1"),
    "hidden": ((8, 0), "hidden[1]: got 0, expected a whole number from 1"),
    "activation": ("rleu", "unknown activation 'rleu': did you mean 'relu'?"),
    "output_activation": ("rleu", "output_activation: unknown activation 'rleu': did you mean 'relu'?"),
    "loss": ("mse", "unknown loss 'mse': known are "),
    "init": ("hee", "init: unknown initialiser 'hee': did you mean 'he'?"),
    "dtype": ("float16", "unknown dtype 'float16': did you mean 'float64'?"),
    "kink": (1.5, "kink: got 1.5, expected a number from 0 to 1"),
    "rule": ("adm", "unknown rule 'adm': did you mean 'adam'?"),
    "clip_value": (0.0, "clip_value: got 0.0, expected a positive finite number"),
    "max_norm": (float("inf"), "max_norm: got inf, expected a positive finite number"),
    "max_segment_norm": (-1.0, "max_segment_norm: got -1.0, expected a positive finite number"),
    "states": ("bfloat", "states: unknown dtype of states 'bfloat': did you mean 'bfloat16'?"),
    "rounding": ("stochastc", "unknown rounding 'stochastc': did you mean 'stochastic'?"),
    "backend": ("nunba", "unknown backend 'nunba': did you mean 'numba'?"),
    "epochs": (-1, "epochs: got -1, expected a whole number from 0"),
    "batch_size": (0, "batch_size: got 0, expected a whole number from 1"),
    "sampling": ("shufle", "unknown sampling 'shufle': did you mean 'shuffle'?"),
    "schedule": ("cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
    "seed": (1 << 64, f"seed: got {1 << 64}, expected a whole number from 0 to {(1 << 64) - 1}"),
}

OF_ANOTHER_TYPE = {
    "data": 3,
    "regression": "no",
    "standardise": 1,
    "hidden": 128,
    "kink": "0.5",
    "epochs": "3",
    "seed": 1.0,
    "skip_nonfinite": None,
    "rule": ["adam"],
    "hyper": [0.1],
    "max_norm": True,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The model file of a short run."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    assert main(["train", "--quiet", "--epochs", "0", "--hidden", "--out", str(folder)]) == 0
    return folder / "model.safetensors"


def _with_setting(saved, folder, name, value):
    """Return the folder of a run whose file has another value for the setting."""
    with safe_open(saved, framework="numpy") as file:
        header = json.loads(file.metadata()["fastopt"])
    header["extra"]["settings"][name] = value
    tensors = load_file(saved)
    save_file(tensors, folder / saved.name, metadata=sealed(header, tensors))
    return folder


def _status(*arguments):
    """Return the exit status; an unknown rule ends the program while its options are read."""
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_the_same_error_wherever_it_comes_from(name, saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    value, words = WRONG[name]
    with pytest.raises(ValueError, match=f"^{re.escape(words)}") as caught:
        Settings(**{name: value})

    written = map(str, value) if isinstance(value, tuple) else [str(value)]
    assert _status("train", f"--{name.replace('_', '-')}", *written) == 1
    assert capsys.readouterr().err == f"fastopt train: error: {caught.value}\n"

    with pytest.raises(ValueError, match="do not fit together") as in_file:
        load_model(_with_setting(saved, tmp_path, name, value))
    assert f"({caught.value})" in str(in_file.value)


@pytest.mark.parametrize("name", OF_ANOTHER_TYPE)
def test_a_value_of_another_type_is_refused(name, saved, tmp_path):
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        Settings(**{name: OF_ANOTHER_TYPE[name]})
    with pytest.raises(ValueError, match="do not fit together") as in_file:
        load_model(_with_setting(saved, tmp_path, name, OF_ANOTHER_TYPE[name]))
    assert f"({caught.value})" in str(in_file.value)


def test_a_setting_that_does_not_exist_is_refused_in_a_saved_run(saved, tmp_path):
    with pytest.raises(ValueError, match=r"unknown setting 'epoch': did you mean 'epochs'\?"):
        load_model(_with_setting(saved, tmp_path, "epoch", 3))


def test_settings_come_back_from_json():
    settings = Settings(hidden=[3, 4], hyper={"betas": (0.8, 0.9)}, batch_size=None, rule="own.py:one", max_norm=1)
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    assert (settings.hidden, settings.max_norm, type(settings.max_norm)) == ((3, 4), 1.0, float)


def test_every_setting_is_an_option_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, option in Settings.options().items():
        dashed = name.replace("_", "-")
        assert f"--no-{dashed} " in text if option.default is True else f"--{dashed} " in text
        assert " ".join(option.help.split()) in text
        if isinstance(option.default, (int, float, str)) and not isinstance(option.default, bool):
            assert f"(default: {option.default})" in text
    assert {entry.name for entry in fields(Settings)} - Settings.options().keys() == {"hyper"}


# Hyper-parameters of the user's own rules

RULE = '''
"""Rules of a test.

When to choose them: never.
"""
from fastopt import fma, rule

@rule
def three(p, g, average, *, step_size, keep):
    """m = β₃m + g;  p −= η·m"""
    average = fma(keep, average, g)
    return fma(-step_size, average, p), average

@three.coefficients
def coefficients(t, *, lr=0.01, betas=(0.1, 0.2, 0.3), seed=3.0, epochs=5.0, clip_value=1.0, run=2.0):
    return {"step_size": lr, "keep": betas[2]}
'''


@pytest.mark.parametrize("path", ["rule.py", "my.python.d/rule.py", "a.pyx/rule.py", "a.py:b/rule.py"])
def test_the_file_of_a_rule_is_all_that_precedes_the_last_py(path, tmp_path):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(RULE, encoding="utf-8")
    for spec in (f"{file}:three", str(file)):
        assert load_rule(spec).name == "three"
        assert Settings(rule=spec).make_optimizer(Settings(hidden=()).make_model(digits())).rule.name == "three"


def test_a_file_is_run_once_and_again_after_a_change(tmp_path):
    file, runs = tmp_path / "own.py", tmp_path / "runs"
    count = f"from pathlib import Path\nwith Path({str(runs)!r}).open('a') as runs: runs.write('.')\n"
    file.write_text(RULE + count, encoding="utf-8")
    first = load_rule(str(file))
    assert load_rule(f"{file}:three") is first
    assert runs.read_text() == "."
    file.write_text(RULE.replace("lr=0.01", "lr=0.025") + count, encoding="utf-8")
    assert load_rule(str(file)).hyper["lr"] == 0.025
    assert runs.read_text() == ".."


def test_a_name_with_py_in_it_is_no_file():
    with pytest.raises(ValueError, match=r"unknown rule 'my\.python/adam'"):
        Settings(rule="my.python/adam")


@needs("numba")
def test_hyper_parameters_have_a_namespace_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(RULE, encoding="utf-8")
    options = ["--rule", "own.py:three", "--betas", "0.4", "0.5", "0.6", "--run", "7", "--seed", "9", "--epochs", "1"]
    options += ["--set", "seed=4", "--set", "epochs=8", "--set", "clip_value=6", "--clip-value", "2", "--hidden"]
    assert main(["train", *options, "--quiet", "--out", "run"]) == 0
    saved = load_model(Path("run"))
    assert (saved.settings.seed, saved.settings.epochs, saved.settings.clip_value) == (9, 1, 2.0)
    expected = {"betas": (0.4, 0.5, 0.6), "run": 7.0, "seed": 4.0, "epochs": 8.0, "clip_value": 6.0}
    assert saved.settings.hyper == expected
    assert saved.checkpoint.optimizer["hyper"] == {"lr": 0.01, "weight_decay": 0.0, **expected}
    assert main(["train", "--resume", "run", "--epochs", "2", "--quiet"]) == 0
    assert load_model(Path("run")).checkpoint.optimizer["hyper"] == {"lr": 0.01, "weight_decay": 0.0, **expected}


@pytest.mark.parametrize("numbers", [["0.1", "0.2"], ["0.1", "0.2", "0.3", "0.4"]])
def test_an_option_takes_as_many_numbers_as_the_default_has(numbers, tmp_path, capsys):
    (tmp_path / "own.py").write_text(RULE, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["train", "--rule", f"{tmp_path}/own.py:three", "--betas", *numbers])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "argument --betas: expected 3 arguments" in err or "unexpected argument '0.4'" in err


def test_help_shows_the_hyper_parameters_of_the_chosen_rule(tmp_path, capsys):
    (tmp_path / "own.py").write_text(RULE, encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["train", f"--rule={tmp_path}/own.py:three", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "hyper-parameters of the rule three: --lr X default: 0.01 --betas X X X default: 0.1 0.2 0.3 --run X" in out
    assert "needed for seed, epochs, clip_value, since other options have these names" in out


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop_centered_momentum"])
def test_rules_explains_a_built_in_rule(name, capsys):
    assert main(["rules", name]) == 0
    out = capsys.readouterr().out
    rule = RULES[name]
    for word in (name, *re.split(r";\s+", rule.equation), *rule.states, f"{12 + 8 * len(rule.states)} bytes"):
        assert word in out
    for hyper, default in rule.hyper.items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [hyper])
        values = " ".join(f"{value:g}" for value in (default if isinstance(default, tuple) else (default,)))
        expected = "[0, 1)" if hyper in ("betas", "alpha", "momentum") else "≥ 0"
        assert " ".join(line.split()).startswith(f"{hyper} {expected} {values}")


def test_rules_explains_a_rule_of_the_user_with_the_text_of_its_file(tmp_path, capsys):
    (tmp_path / "own.py").write_text(RULE, encoding="utf-8")
    assert main(["rules", f"{tmp_path}/own.py:three"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("three\n\n    m = β₃m + g\n    p −= η·m\n")
    assert "state: average; 4 bytes per parameter\n    a step reads and writes 20 bytes per parameter\n" in out
    assert "Rules of a test.\n\nWhen to choose them: never.\n" in out


def test_rules_of_an_unknown_name_is_an_error(capsys):
    assert main(["rules", "adm"]) == 1
    assert "fastopt rules: error: unknown rule 'adm': did you mean 'adam'?" in capsys.readouterr().err
