"""Checkpoints: what is in the file, what happens to a damaged one and on a full disk; runs that are continued."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, contents
from safetensors import safe_open
from safetensors.numpy import load, load_file, save_file

from fastopt import MLP, RULES, Optimizer
from fastopt.cli import main
from fastopt.runs.checkpoint import load_checkpoint, save_checkpoint, sealed
from fastopt.runs.run import Run
from fastopt.runs.saved_run import MODEL_FILE, load_model
from fastopt.runs.settings import Settings

SEGMENTS = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")


def _trained(rule="adam", dtype="float32", **more):
    """Return a model and its optimizer behind three steps."""
    model = MLP((5, 4, 3), seed=1, dtype=dtype)
    optimizer = Optimizer(model.parameters, rule, layout=model.layout, threads=1, **HYPER[rule], **more)
    for step in range(3):
        _step(model, optimizer, step)
    return model, optimizer


def _step(model, optimizer, seed):
    rng = np.random.default_rng(seed)
    model.loss_and_gradient(rng.normal(size=(9, 5)), rng.integers(0, 3, 9))
    optimizer.step(model.gradients)


def _tensors(path):
    """Return dtype, shape and bytes of each tensor in the file."""
    return {name: (x.dtype.name, x.shape, x.tobytes()) for name, x in load_file(path).items()}


def _header(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastopt"])


# The file


@pytest.mark.parametrize(("rule", "dtype"), [*((rule, "float32") for rule in RULES), ("adam", "float64")])
def test_a_file_has_every_tensor_by_name_and_continues_to_the_same_bits(rule, dtype, tmp_path):
    model, optimizer = _trained(rule, dtype)
    optimizer.lr_scale, optimizer.skipped = 0.3, 2
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, optimizer, extra={"note": [1, None, "é"]}, arrays={"mean": np.arange(5.0)})

    buffers = {"model": model.parameters} | {f"optimizer/{name}": state for name, state in optimizer.state.items()}
    expected = {
        f"{prefix}/{name}": (dtype, view.shape, view.tobytes())
        for prefix, buffer in buffers.items()
        for name, view in model.layout.views(buffer).items()
    }
    expected["mean"] = ("float64", (5,), np.arange(5.0).tobytes())
    assert _tensors(path) == expected
    assert set(SEGMENTS) == {name.removeprefix("model/") for name in expected if name.startswith("model/")}

    saved = load_checkpoint(path)
    again = Optimizer(saved.model.parameters, rule, layout=saved.model.layout, threads=1)
    again.load_state_dict(saved.optimizer)
    assert (saved.extra, saved.model.config) == ({"note": [1, None, "é"]}, model.config)
    assert bits(saved.arrays["mean"]) == bits(np.arange(5.0))
    assert (again.steps, again.skipped, again.lr_scale) == (3, 2, 0.3)
    assert again.hyper == optimizer.hyper
    for which in ((model, optimizer), (saved.model, again)):
        _step(*which, seed=9)
    assert bits(*contents(again).values()) == bits(*contents(optimizer).values())


def test_the_file_is_json_and_numbers_alone(tmp_path):
    model, optimizer = _trained()
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model, optimizer)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    assert tensors.pop("__metadata__").keys() == {"fastopt", "sha256"}
    assert len(content) == 8 + length + max(entry["data_offsets"][1] for entry in tensors.values())
    assert {entry["dtype"] for entry in tensors.values()} == {"F32"}


def _truncated(length):
    return lambda path: path.write_bytes(path.read_bytes()[:length])


def _changed(change):
    """Return what changes header and tensors of a file, and writes it again as whole as before."""

    def damage(path):
        header, tensors = _header(path), load_file(path)
        header = change(header, tensors) or header
        save_file(tensors, path, metadata=sealed(header, tensors))

    return damage


_INCOMPLETE = "not a complete safetensors file"

DAMAGE = {
    "empty": (_truncated(0), _INCOMPLETE),
    "truncated in the length": (_truncated(7), _INCOMPLETE),
    "truncated behind the length": (_truncated(8), _INCOMPLETE),
    "truncated in the header": (_truncated(300), _INCOMPLETE),
    "truncated in the tensors": (_truncated(-200), _INCOMPLETE),
    "truncated by one byte": (_truncated(-1), _INCOMPLETE),
    "a byte too many": (lambda path: path.write_bytes(path.read_bytes() + b"x"), _INCOMPLETE),
    "random bytes": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        "not a complete safetensors file",
    ),
    "text": (lambda path: path.write_text("epoch,loss\n" * 40), _INCOMPLETE),
    "another program's": (lambda path: save_file({"w": np.zeros(3)}, path), "not one that fastopt saved"),
    "another program's, with metadata": (
        lambda path: save_file({"w": np.zeros(3)}, path, metadata={"fastopt": "{"}),
        "not one that fastopt saved",
    ),
    "a header that is a list": (_changed(lambda h, t: [1]), "not one that fastopt saved"),
    "another version": (_changed(lambda h, t: h.update(version=2)), "got format version 2, expected 3"),
    "no version": (_changed(lambda h, t: h.pop("version") and None), "not one that fastopt saved"),
    "no model": (_changed(lambda h, t: h.pop("model") and None), "'model' is missing"),
    "no optimizer": (_changed(lambda h, t: h.pop("optimizer") and None), "'optimizer' is missing"),
    "a model of another kind": (_changed(lambda h, t: h.update(model=None)), "do not fit together"),
    "a model with another word": (_changed(lambda h, t: h["model"].update(depth=3)), "do not fit together"),
    "a model of other sizes": (_changed(lambda h, t: h["model"].update(sizes=[5, 3, 3])), "expected float32 (5, 3)"),
    "an optimizer of another kind": (_changed(lambda h, t: h.update(optimizer=3)), "do not fit together"),
    "hyper-parameters of another kind": (_changed(lambda h, t: h["optimizer"].update(hyper=[1])), "do not fit"),
    **{
        f"{name} missing": (_changed(lambda h, t, name=name: t.pop(name) is None), f"{name}' is missing")
        for name in ("model/layers.0.weight", "model/layers.1.bias", "optimizer/exp_avg_sq/layers.0.bias")
    },
    **{
        f"{name} of another shape": (
            _changed(lambda h, t, name=name: t.update({name: t[name].T[:-1].copy()})),
            "do not fit",
        )
        for name in ("model/layers.0.weight", "optimizer/exp_avg/layers.1.bias")
    },
    **{
        f"{name} of another dtype": (
            _changed(lambda h, t, name=name: t.update({name: t[name].astype(np.float64)})),
            "a tensor is float64",
        )
        for name in ("model/layers.1.weight", "optimizer/exp_avg/layers.1.weight")
    },
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_a_value_error_that_names_it(case, tmp_path):
    damage, words = DAMAGE[case]
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *_trained())
    damage(path)
    with pytest.raises(ValueError, match="safetensors") as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *_trained(), extra={"note": "é"}, arrays={"mean": np.arange(5.0)})
    whole, before = path.read_bytes(), _contents(load_checkpoint(path))
    rng, refused = np.random.default_rng(0), 0
    for place, bit in zip(rng.integers(0, len(whole), 1000), rng.integers(0, 8, 1000), strict=True):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(bit)
        path.write_bytes(flipped)
        message = _refusal(path, before)
        if message is not None:
            assert re.fullmatch(rf"{re.escape(str(path))}: .+", message), f"bit {bit} of byte {place}"
            refused += 1
    assert refused > 900  # the others are in the spaces that fill the header


def _refusal(path, expected):
    """Return why a file is refused; None for one whose contents are the expected ones."""
    try:
        contents = _contents(load_checkpoint(path))
    except ValueError as error:
        return str(error)
    assert contents == expected
    return None


def _contents(checkpoint):
    states = {name: state.tobytes() for name, state in checkpoint.optimizer["state"].items()}
    arrays = {name: array.tobytes() for name, array in checkpoint.arrays.items()}
    others = {key: value for key, value in checkpoint.optimizer.items() if key != "state"}
    return checkpoint.model.config, checkpoint.model.parameters.tobytes(), states, arrays, others, checkpoint.extra


def test_a_file_without_a_digest_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *_trained())
    save_file(load_file(path), path, metadata={"fastopt": json.dumps(_header(path))})
    with pytest.raises(ValueError, match="has changed since it was saved"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model/layers.0.weight", np.nan), ("model/layers.0.bias", np.inf), ("optimizer/exp_avg/layers.0.weight", np.nan)],
)
def test_weights_that_are_not_finite_are_refused_by_name(name, value, table, tmp_path, capsys):
    run = _train(Run.start(tmp_path / "run", Settings(data=str(table), target="kind", epochs=1, hidden=())))
    path = run.folder / MODEL_FILE
    header, tensors = _header(path), load_file(path)
    tensors[name].reshape(-1)[-1] = value
    save_file(tensors, path, metadata=sealed(header, tensors))
    for command in (["train", "--resume", str(run.folder)], ["predict", str(run.folder), str(table)]):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{MODEL_FILE}: {name} holds NaN or Inf: the training had diverged" in line


# Files of this format, as they were saved when it was made


GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_golden_file_loads_predicts_and_is_continued(name, tmp_path, monkeypatch):
    shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    saved = load_model(Path(name))
    assert (saved.position.epoch, saved.classes, saved.columns) == (2, ("no", "yes"), ("a", "b"))
    assert main(["predict", name, "table.csv", "--out", "new.csv"]) == 0
    new, expected = (np.genfromtxt(path, str, delimiter=",") for path in ("new.csv", f"{name}/predictions.csv"))
    assert new[:, 0].tolist() == expected[:, 0].tolist()
    np.testing.assert_allclose(new[1:, 1:].astype(float), expected[1:, 1:].astype(float), rtol=0, atol=2e-6)
    with Run.resume(Path(name), epochs=3) as run:
        assert [result.epoch for result in [*run.history, *run.training.run()]] == [1, 2, 3]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no run here; expected a folder with model\.safetensors"):
        load_model(tmp_path)


def test_a_model_without_a_run_is_no_run(tmp_path):
    save_checkpoint(tmp_path / MODEL_FILE, *_trained())
    with pytest.raises(ValueError, match="holds a model but no run"):
        load_model(tmp_path)


# Saving that fails

_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from fastopt import MLP, Optimizer
from fastopt.runs import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, limit = Path(sys.argv[1]), int(sys.argv[2])
model = MLP((50, 40, 3))
optimizer = Optimizer(model.parameters, "adam", layout=model.layout, backend="reference")
if sys.argv[3] == "saved":
    save_checkpoint(path, model, optimizer)
before = path.read_bytes() if path.exists() else None
optimizer.step(np.ones_like(model.parameters))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    save_checkpoint(path, model, optimizer)
except OSError as error:
    print(error)
assert before == (path.read_bytes() if path.exists() else None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("limit", [0, 1, 4096, 20_000])
@pytest.mark.parametrize("state", ["saved", "new"])
def test_a_full_disk_leaves_the_file_saved_before(limit, state, tmp_path):
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", _FULL_DISK, str(path), str(limit), state]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: cannot be written: ")
    assert "make room, or write elsewhere" in done.stdout
    assert ("the file that was there is untouched" in done.stdout) == (state == "saved")
    assert os.listdir(tmp_path) == (["a.safetensors"] if state == "saved" else [])


def _no_folder(tmp_path):
    return tmp_path / "none" / "a.safetensors"


def _a_folder_in_its_place(tmp_path):
    (tmp_path / "a.safetensors" / "kept").mkdir(parents=True)
    return tmp_path / "a.safetensors"


def _a_file_above(tmp_path):
    (tmp_path / "above").write_text("kept")
    return tmp_path / "above" / "a.safetensors"


def _no_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    return folder / "a.safetensors"


@pytest.mark.parametrize("place", [_no_folder, _a_folder_in_its_place, _a_file_above, _no_permission])
def test_a_place_that_cannot_be_written_is_an_os_error(place, tmp_path):
    path = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match=r"a\.safetensors: cannot be written: "):
        save_checkpoint(path, *_trained())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be replaced there")
def test_who_reads_the_file_saved_before_reads_all_of_it(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *_trained("sgd"))
    before = path.read_bytes()
    with path.open("rb") as file:
        save_checkpoint(path, *_trained("adam"))
        assert file.read() == before != path.read_bytes()


def test_an_interrupt_while_saving_leaves_the_file_saved_before(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *_trained("sgd"))
    before = path.read_bytes()

    def interrupt(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, *_trained("adam"))
    assert (os.listdir(tmp_path), path.read_bytes()) == ([path.name], before)


@pytest.mark.parametrize("name", ["settings.json", "history.csv"])
def test_a_text_that_cannot_be_written_leaves_the_model_saved(name, tmp_path):
    with Run.start(tmp_path / "run", Settings(epochs=1, hidden=())) as run:
        (run.folder / name).mkdir()
        (failed,) = run.save().values()
        assert re.search(rf"{name}: cannot be written: .*model\.safetensors is saved", failed)
        assert load_model(run.folder).position == run.training.position
        assert {"settings.json", "history.csv"} <= set(os.listdir(run.folder))


# Runs that are continued


def _train(run, stop_after=None):
    steps = []

    def on_step(position):
        steps.append(position)
        if len(steps) == stop_after:
            run.training.stop()

    with run:
        run.history += run.training.run(on_step)
        run.save()
    return run


def _kept(folder):
    """Return all that must be the same behind an interruption: tensors, counts, figures."""
    header = _header(folder / MODEL_FILE)
    history = [dict(result, samples_per_second=None) for result in header["extra"].pop("history")]
    return _tensors(folder / MODEL_FILE), history, header


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A .csv of 64 rows: 51 to train on, which the batches of 8 do not divide."""
    rng = np.random.default_rng(0)
    x, path = rng.normal(size=(64, 4)), tmp_path_factory.mktemp("table") / "table.csv"
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{d:.3f},{'yes' if a > b else 'no'}" for a, b, c, d in x]
    path.write_text("\n".join(["a,b,c,d,kind", *rows, ""]))
    return path


OPTIONS = {
    "sgd": {"rule": "sgd", "hyper": {"lr": 0.1}},
    "momentum": {"rule": "momentum", "hyper": {"lr": 0.05, "momentum": 0.8, "dampening": 0.3}},
    "adam": {"rule": "adam", "hyper": {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.125}, "bias_decay": False},
    "random": {"sampling": "random"},
    "max_norm": {"max_norm": 0.1, "dtype": "float64"},
    "max_segment_norm": {"max_segment_norm": 0.1, "standardise": False},
    "cosine": {"schedule": "cosine", "rule": "nesterov", "hyper": {"lr": 0.05}},
    "whole set": {"batch_size": None},
    "other seed": {"seed": 7, "test_fraction": 0.3, "loss": "binary_cross_entropy", "activation": "tanh"},
}


@pytest.fixture(params=OPTIONS)
def settings(request, table):
    """The settings of a small run, six epochs long."""
    small = {"data": str(table), "target": "kind", "hidden": (6,), "epochs": 6, "batch_size": 8}
    return Settings(**(small | OPTIONS[request.param]))


@pytest.mark.parametrize("stop_after", [0, 1, 5, 7, 20, 42])
def test_stopped_behind_a_step_and_resumed_ends_in_the_same_bits(stop_after, settings, tmp_path):
    straight = _train(Run.start(tmp_path / "straight", settings, threads=1))
    assert len(straight.history) == 6
    stopped = Run.start(tmp_path / "stopped", settings, threads=1)
    if not stop_after:
        stopped.training.stop()
    _train(stopped, stop_after)
    assert len(stopped.history) == min(6, stop_after // stopped.training.steps_per_epoch)
    resumed = _train(Run.resume(tmp_path / "stopped", threads=1))
    assert resumed.training.position == straight.training.position
    assert _kept(resumed.folder) == _kept(straight.folder)


@pytest.mark.parametrize("settings", [name for name in OPTIONS if name != "cosine"], indirect=True)
def test_more_epochs_end_in_the_same_bits_as_at_once(settings, tmp_path):
    straight = _train(Run.start(tmp_path / "straight", settings, threads=1))
    _train(Run.start(tmp_path / "parts", replace(settings, epochs=3), threads=1))
    resumed = _train(Run.resume(tmp_path / "parts", epochs=6, threads=1))
    assert [result.epoch for result in resumed.history] == [1, 2, 3, 4, 5, 6]
    assert _kept(resumed.folder) == _kept(straight.folder)


def test_a_finished_run_that_is_resumed_stays_as_it_is(table, tmp_path):
    settings = Settings(data=str(table), target="kind", epochs=2)
    before = _kept(_train(Run.start(tmp_path / "run", settings)).folder)
    assert _kept(_train(Run.resume(tmp_path / "run")).folder) == before


def test_a_folder_that_is_not_empty_is_refused_and_untouched(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    for folder in (tmp_path, tmp_path / "kept.txt"):
        with pytest.raises(FileExistsError, match=r"exists already(; choose another folder| and is not a folder)"):
            Run.start(folder, Settings(epochs=1))
    assert (os.listdir(tmp_path), (tmp_path / "kept.txt").read_text()) == (["kept.txt"], "kept")


def test_an_empty_folder_is_taken(tmp_path):
    with Run.start(tmp_path, Settings(epochs=1)) as run:
        assert run.folder == tmp_path


def _edit_input(path):
    lines = path.read_text().split("\n")
    lines[30] = "9" + lines[30]
    path.write_text("\n".join(lines))


def _drop_row(path):
    path.write_text("\n".join(path.read_text().split("\n")[:-2]) + "\n")


def _swap_labels(path):
    path.write_text(path.read_text().replace("yes", "x").replace("no", "yes").replace("x", "no"))


@pytest.mark.parametrize("change", [_edit_input, _drop_row, _swap_labels])
def test_changed_data_are_refused(change, table, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table.read_text())
    _train(Run.start(tmp_path / "run", Settings(data=str(path), target="kind", epochs=1, hidden=())))
    before = (tmp_path / "run" / MODEL_FILE).read_bytes()
    with Run.resume(tmp_path / "run") as run:
        assert run.training.position.epoch == 1
    change(path)
    with pytest.raises(ValueError, match=r"is not what this run was trained on; put it back"):
        Run.resume(tmp_path / "run", epochs=2)
    assert (tmp_path / "run" / MODEL_FILE).read_bytes() == before


def test_a_run_on_a_memory_map_is_resumed_and_notices_other_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 3))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", (x[:, 0] > 0).astype(int))
    settings = Settings(data=str(tmp_path / "x.npy"), epochs=2)
    straight = _train(Run.start(tmp_path / "straight", settings))
    _train(Run.start(tmp_path / "parts", settings), stop_after=1)
    assert _kept(_train(Run.resume(tmp_path / "parts")).folder) == _kept(straight.folder)
    np.save(tmp_path / "x.npy", x + 1)
    with pytest.raises(ValueError, match="is not what this run was trained on"):
        Run.resume(tmp_path / "parts")


def test_bytes_of_a_model_can_be_loaded_by_anyone(table, tmp_path):
    run = _train(Run.start(tmp_path / "run", Settings(data=str(table), target="kind", epochs=1, hidden=(6,))))
    tensors = load((run.folder / MODEL_FILE).read_bytes())
    standard = (np.array([1.0, 2.0, 3.0, 4.0]) - tensors["standardiser/mean"]) / tensors["standardiser/scale"]
    hidden = np.maximum(standard @ tensors["model/layers.0.weight"] + tensors["model/layers.0.bias"], 0)
    logits = hidden @ tensors["model/layers.1.weight"] + tensors["model/layers.1.bias"]
    saved = load_model(run.folder)
    inputs = saved.standardiser.apply(np.array([[1.0, 2.0, 3.0, 4.0]], "float32"))
    np.testing.assert_allclose(saved.checkpoint.model.forward(inputs)[0], logits, rtol=1e-5, atol=1e-6)
    assert (saved.classes, saved.columns) == (("no", "yes"), ("a", "b", "c", "d"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_reference_backend_continues_in_the_same_bits(dtype, table, tmp_path):
    settings = Settings(data=str(table), target="kind", epochs=2, dtype=dtype, backend="reference", hidden=())
    straight = _train(Run.start(tmp_path / "straight", settings))
    _train(Run.start(tmp_path / "parts", settings), stop_after=1)
    assert _kept(_train(Run.resume(tmp_path / "parts")).folder) == _kept(straight.folder)
