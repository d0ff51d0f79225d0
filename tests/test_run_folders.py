"""Folders of runs: leftovers of killed runs, files that cannot be written, damaged files; and output in ASCII."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastopt.runs.run
from fastopt._files import host, is_leftover, replace_file
from fastopt.cli import main
from fastopt.commands import predict
from fastopt.runs.checkpoint import sealed
from fastopt.runs.owner import OWNER_FILE, Claim
from fastopt.runs.plots import draw_history
from fastopt.runs.run import Run
from fastopt.runs.saved_run import MODEL_FILE, load_model
from fastopt.runs.settings import Settings
from fastopt.train import EpochResult, Training

SMALL = Settings(epochs=1, hidden=(), backend="reference")

needs_signals = pytest.mark.skipif(os.name != "posix", reason="whether a process is alive is asked on POSIX only")


def _saved(folder, settings=SMALL):
    """Save a run in the folder before its first step."""
    with Run.start(folder, settings) as run:
        run.save()


# What killed runs leave

_KILLED = """
import os, signal, sys
from pathlib import Path
from fastopt._files import replace_file
replace_file(Path(sys.argv[1]), lambda path: os.kill(os.getpid(), signal.SIGKILL))
"""


def _kill_a_save(path):
    """Kill a process in the middle of writing the file, and return what it leaves."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert done.returncode == -9
    (left,) = (entry for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}."))
    return left


@needs_signals
def test_the_next_save_removes_what_a_killed_one_left(tmp_path):
    with Run.start(tmp_path / "run", SMALL) as run:
        run.save()
        left = _kill_a_save(run.folder / MODEL_FILE)
        assert is_leftover(left)
        run.save()
    assert sorted(os.listdir(run.folder)) == ["history.csv", MODEL_FILE, "settings.json"]


@needs_signals
@pytest.mark.parametrize("again", ["start", "resume"])
def test_a_start_removes_what_a_killed_save_left(again, tmp_path):
    if again == "resume":
        _saved(tmp_path)
    left = _kill_a_save(tmp_path / MODEL_FILE)
    with Run.start(tmp_path, SMALL) if again == "start" else Run.resume(tmp_path):
        assert not left.exists()


@needs_signals
def test_a_file_that_is_being_written_is_no_leftover(tmp_path):
    path, seen = tmp_path / "a", []

    def write(temporary):
        temporary.write_text("whole")
        replace_file(tmp_path / "b", lambda other: other.write_text("other"))
        seen.append((is_leftover(temporary), temporary.exists()))

    replace_file(path, write)
    assert (seen, path.read_text(), (tmp_path / "b").read_text()) == ([(False, True)], "whole", "other")
    other_machine = tmp_path / f".a.elsewhere.{2**22 + 1}.tmp"
    assert not is_leftover(other_machine)
    assert not is_leftover(tmp_path / ".a.txt")


@needs_signals
def test_a_run_killed_in_its_first_save_is_started_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    _kill_a_save(Path("run") / MODEL_FILE)
    assert main(["train", "--resume", "run"]) == 1
    assert capsys.readouterr().err.endswith("before its first save can be started again with --out run\n")
    options = ["--epochs", "1", "--hidden", "--backend", "reference", "--quiet"]
    assert main(["train", "--out", "run", *options]) == 0
    assert sorted(os.listdir("run")) == ["curves.png", "history.csv", MODEL_FILE, "settings.json"]


def test_an_existing_folder_says_what_can_be_done(tmp_path):
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
    _saved(tmp_path / "run")
    (tmp_path / "other" / "notes").write_text("kept")
    for name, words in (("run", "continue its run with --resume"), ("other", "empty it: there is no run in it")):
        with pytest.raises(FileExistsError, match=rf"exists already; choose another folder with --out, or {words}"):
            Run.start(tmp_path / name, SMALL)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors in it$"):
        load_model(tmp_path / "other")


# Who has a folder

_TRAIN = [sys.executable, "-m", "fastopt", "train", "--backend", "reference", "--hidden", "--quiet"]


def test_runs_that_start_together_get_a_folder_each(tmp_path):
    runs = [subprocess.Popen([*_TRAIN, "--epochs", "1"], cwd=tmp_path) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert sorted(os.listdir(tmp_path / "runs")) == ["digits", "digits-2", "digits-3", "digits-4"]
    for folder in (tmp_path / "runs").iterdir():
        assert load_model(folder).position.epoch == 1
        assert OWNER_FILE not in os.listdir(folder)


@pytest.mark.parametrize("use", ["start", "replace", "resume"])
def test_the_folder_of_an_active_run_is_refused(use, tmp_path):
    folder = tmp_path / "run"
    with Run.start(folder, SMALL) as run:
        run.save()
        before = sorted(os.listdir(folder)), (folder / MODEL_FILE).read_bytes()
        options = {"start": ["--out"], "replace": ["--overwrite", "--out"], "resume": []}[use]
        command = [*_TRAIN, *options, folder] if options else [*_TRAIN[:4], "--resume", folder]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert other.returncode == 1
        assert re.fullmatch(
            rf"fastopt train: error: .*run is in use by another run \(process {os.getpid()} on .*\); wait until .*\n",
            other.stderr,
        )
        assert (sorted(os.listdir(folder)), (folder / MODEL_FILE).read_bytes()) == before
    Run.resume(folder).close()


@needs_signals
@pytest.mark.parametrize("is_saved", [False, True])
def test_a_run_that_was_killed_has_its_folder_no_more(is_saved, tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from fastopt.runs import Run, Settings\n"
        "run = Run.start(Path(sys.argv[1]), Settings(epochs=1, hidden=(), backend='reference'))\n"
        f"{'run.save()' if is_saved else ''}\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "run"], check=False).returncode == -9
    assert OWNER_FILE in os.listdir(tmp_path / "run")
    with Run.resume(tmp_path / "run") if is_saved else Run.start(tmp_path / "run", SMALL) as run:
        run.save()
    assert sorted(os.listdir(tmp_path / "run")) == ["history.csv", MODEL_FILE, "settings.json"]


@needs_signals
def test_a_process_number_in_the_file_holds_nothing(tmp_path):
    (tmp_path / OWNER_FILE).write_text(f"process {os.getpid()} on this machine\n")  # alive, and without the lock
    _saved(tmp_path)


@needs_signals
def test_a_forked_child_that_ends_gives_nothing_back(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from fastopt.runs.owner import Claim\n"
        "folder = Path(sys.argv[1]); claim = Claim(folder)\n"
        "child = os.fork()\n"
        "if not child: sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "assert os.listdir(folder)\n"
        "try: Claim(folder)\n"
        "except BlockingIOError: claim.release()\n"
        "else: raise AssertionError('the child unlocked it')\n"
        "assert not os.listdir(folder)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_a_start_that_is_refused_leaves_a_folder_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(FileExistsError):
        Run.start(tmp_path, SMALL)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_marker_that_cannot_be_written_holds_nothing(tmp_path, monkeypatch):
    def full(descriptor, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fastopt.runs.owner.os.write", full)
        with pytest.raises(OSError, match=r"cannot be written to: No space left on device"):
            Claim(tmp_path)
    assert os.listdir(tmp_path) == []
    Claim(tmp_path).release()


@needs_signals
def test_without_locks_the_process_that_is_named_decides(tmp_path, monkeypatch):
    def unsupported(descriptor, kind):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fastopt.runs.owner.fcntl.flock", unsupported)
    with (
        Claim(tmp_path),
        pytest.raises(BlockingIOError, match=rf"process {os.getpid()} on .*; if that has ended, remove"),
    ):
        Claim(tmp_path)
    (tmp_path / OWNER_FILE).write_text(f"process {2**22 + 1} on {host()}\n")  # beyond the numbers that Linux gives
    Claim(tmp_path).release()
    (tmp_path / OWNER_FILE).write_text(f"process {2**22 + 1} on another-machine\n")
    with pytest.raises(BlockingIOError, match="on another-machine"):
        Claim(tmp_path)


@needs_signals
def test_the_folder_of_a_run_that_was_killed_before_its_first_save_is_taken_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/digits").mkdir(parents=True)
    Path("runs/digits", OWNER_FILE).write_text("process 1 on this-machine\n")
    Path("runs/digits-2").mkdir()
    Path("runs/digits-2/notes.txt").write_text("kept")
    with Run.start(None, SMALL) as first, Run.start(None, SMALL) as second:
        assert (first.folder, second.folder) == (Path("runs/digits"), Path("runs/digits-3"))


def test_a_backup_under_another_name_is_not_mistaken_for_the_run(tmp_path):
    _saved(tmp_path)
    shutil.copy(tmp_path / MODEL_FILE, tmp_path / "backup.safetensors")
    with pytest.raises(ValueError, match=r"backup\.safetensors: got a file; expected the folder of a run"):
        Run.resume(tmp_path / "backup.safetensors")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_is_not_writable_is_said_before_the_first_step(number, tmp_path, monkeypatch):
    _saved(tmp_path)
    before = sorted(os.listdir(tmp_path))

    def refuse(path, *flags):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("fastopt.runs.owner.os.open", refuse)
    with pytest.raises(OSError, match=rf"cannot be written to: {os.strerror(number)}; a run needs a folder"):
        Run.resume(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before


def test_overwrite_replaces_a_run_and_nothing_else(tmp_path, capsys):
    options = ["--epochs", "1", "--hidden", "--backend", "reference", "--quiet"]
    folder = tmp_path / "run"
    assert main(["train", *options, "--out", str(folder)]) == 0
    (folder / "notes.txt").write_text("kept")
    with Run.start(folder, replace(SMALL, seed=1), overwrite=True):
        assert load_model(folder).settings.seed == 0  # whole until the first save of the new one
    assert main(["train", *options, "--seed", "1", "--out", str(folder), "--overwrite", "--epochs", "2"]) == 0
    assert load_model(folder).position.epoch == 2
    assert (folder / "notes.txt").read_text() == "kept"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("kept")
    capsys.readouterr()
    for words, message in (
        (["--out", str(tmp_path / "other"), "--overwrite"], "empty it: there is no run in it"),
        (["--save-every", "0", "--out", str(folder)], "--save-every: got 0.0, expected a number above 0"),
        (["--save-every", "nan", "--out", str(folder)], "--save-every: got nan, expected a number above 0"),
        (["--overwrite"], "--overwrite replaces the run in the folder that --out names"),
        (["--data", "nowhere.csv", "--out", str(folder), "--overwrite"], "nowhere.csv"),
    ):
        assert main(["train", *options, *words]) == 1
        assert message in capsys.readouterr().err
    assert load_model(folder).position.epoch == 2  # an error before the training leaves the run as it is


# Nothing but the arithmetic ends a training without its weights

_LONG = [sys.executable, "-m", "fastopt", "train", "--backend", "reference", "--hidden"]


@contextmanager
def _training(folder, *options):
    """Start a long training in the folder, and wait until it has saved for the first time; it ends with the context."""
    command = [*_LONG, "--epochs", "100000", "--save-every", "0.1", "--quiet", "--out", "run", *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not (folder / "run" / MODEL_FILE).exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@needs_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_gives_the_usual_status(name, tmp_path):
    with _training(tmp_path) as process:
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name)
    assert err == b"interrupted; saved in run; continue with: fastopt train --resume run\n"
    position = load_model(tmp_path / "run").position
    epochs = str(position.epoch + 1)
    for options in (["--resume", "run"], ["--out", "straight", *_LONG[4:]]):
        subprocess.run([*_LONG[:4], *options, "--epochs", epochs, "--quiet"], cwd=tmp_path, check=True)
    resumed, straight = (load_file(tmp_path / name / MODEL_FILE) for name in ("run", "straight"))
    assert {key: value.tobytes() for key, value in resumed.items()} == {
        key: value.tobytes() for key, value in straight.items()
    }


@needs_signals
@pytest.mark.parametrize("call", range(1, 9))
def test_a_signal_within_the_last_save_changes_nothing_but_the_status(call, tmp_path, monkeypatch, capsys):
    saved, fsync = [], os.fsync

    def interrupted(number):
        saved.append(number)
        if len(saved) == call:
            signal.raise_signal(signal.SIGINT)
        fsync(number)

    monkeypatch.setattr(os, "fsync", interrupted)
    options = ["--epochs", "1", "--hidden", "--backend", "reference", "--quiet"]
    assert main(["train", "--out", str(tmp_path / "run"), *options]) == 130
    assert "interrupted; saved in" in capsys.readouterr().err
    assert load_model(tmp_path / "run").position.epoch == 1
    assert sorted(os.listdir(tmp_path / "run")) == ["curves.png", "history.csv", MODEL_FILE, "settings.json"]


@needs_signals
def test_a_run_is_saved_within_an_epoch(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(20_000, 4)), y=np.arange(20_000) % 2)
    with _training(tmp_path, "--data", "d.npz", "--batch-size", "1") as process:
        process.kill()
    position = load_model(tmp_path / "run").position
    assert position.epoch == 0
    assert 0 < position.step < 16_000
    assert not load_model(tmp_path / "run").history


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a device of Linux")
@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "2> /dev/full", "| head -1", "<&- >&- 2>&-"]
)
@pytest.mark.parametrize("quiet", ["", "--quiet"])
def test_output_that_nobody_takes_ends_no_training(redirection, quiet, tmp_path):
    words = [*_LONG, "--epochs", "30", "--out", "run", *filter(None, [quiet])]
    script = f"set -o pipefail; {' '.join(words)} {redirection}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_model(tmp_path / "run").position.epoch == 30
    assert sorted(os.listdir(tmp_path / "run")) == ["curves.png", "history.csv", MODEL_FILE, "settings.json"]


@needs_signals
def test_a_run_whose_folder_is_removed_is_saved_beside_it(tmp_path):
    with _training(tmp_path) as process:
        (tmp_path / "run").rename(
            tmp_path / "gone"
        )  # at once, unlike a removal file by file, which a save may fall into
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    lines = err.decode().splitlines()
    assert process.returncode == 143
    assert lines[0] == "warning: run: cannot be written to: it was removed, or is another run's by now"
    assert lines[1] == f"the run is saved in {tmp_path / 'run-rescued'} from now on"
    assert lines[2].startswith(f"interrupted; saved in {tmp_path / 'run-rescued'}; ")
    assert load_model(tmp_path / "run-rescued").position.epoch > 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_model_that_cannot_be_written_is_saved_elsewhere(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    replace = os.replace

    def refuse(source, target):
        if Path(target).absolute().parent.name == "run":
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    options = ["--epochs", "1", "--hidden", "--backend", "reference", "--quiet"]
    assert main(["train", "--out", "run", *options]) == 1
    out, err = capsys.readouterr()
    warning, where = err.splitlines()
    assert re.fullmatch(rf"warning: run.{MODEL_FILE}: cannot be written: .*{os.strerror(number)}.*", warning)
    assert where == f"the run is saved in {tmp_path / 'run-rescued'} from now on"
    assert out.startswith(f"saved in {tmp_path / 'run-rescued'}: ")
    assert load_model(tmp_path / "run-rescued").position.epoch == 1
    assert os.listdir(tmp_path / "run") == []


@needs_signals
def test_the_next_interval_saves_beside_a_folder_that_is_gone(tmp_path):
    with _training(tmp_path) as process:
        (tmp_path / "run").rename(tmp_path / "gone")
        deadline = time.monotonic() + 60
        while not (tmp_path / "run-rescued" / MODEL_FILE).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        _, err = process.communicate()
    assert load_model(tmp_path / "run-rescued").position.epoch > 0
    assert err.decode().splitlines()[-1] == f"the run is saved in {tmp_path / 'run-rescued'} from now on"


def _no_folder():
    raise FileNotFoundError(errno.ENOENT, "no such folder")


@pytest.mark.parametrize("place", ["beside", "current", "temporary"])
def test_each_place_is_tried_for_itself(place, tmp_path, monkeypatch):
    for name in ("current", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(Path, "cwd", _no_folder if place != "current" else lambda: tmp_path / "current")
    monkeypatch.setattr(
        "fastopt.runs.run.gettempdir", _no_folder if place != "temporary" else lambda: str(tmp_path / "temporary")
    )
    with Run.start(tmp_path / "beside" / "run", SMALL) as run:
        (tmp_path / "beside").rename(tmp_path / "gone")
        if place != "beside":
            (tmp_path / "beside").write_text("a file")
        assert run.rescue() == {}
        assert run.folder == tmp_path / place / "run-rescued"
        assert load_model(run.folder).position == run.training.position


def test_a_run_whose_folder_another_one_has_by_now_does_not_write_into_it(tmp_path):
    with Run.start(tmp_path / "run", SMALL) as first:
        first.save()
        (tmp_path / "run").rename(tmp_path / "gone")
        with Run.start(tmp_path / "run", replace(SMALL, seed=1)) as second:
            second.save()
            with pytest.raises(OSError, match="was removed, or is another run's by now"):
                first.save()
        assert load_model(tmp_path / "run").settings.seed == 1


def test_an_error_of_an_evaluation_costs_no_epoch(tmp_path, monkeypatch):
    options = ["--epochs", "3", "--hidden", "--backend", "reference", "--quiet"]
    evaluate, calls = Training.evaluate, []

    def out_of_memory(self, batches=None):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return evaluate(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "evaluate", out_of_memory)
        with pytest.raises(MemoryError):
            main(["train", "--out", str(tmp_path / "run"), *options])
    position = load_model(tmp_path / "run").position
    assert (position.epoch, position.step) == (1, 45)
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert main(["train", "--out", str(tmp_path / "straight"), *options]) == 0
    resumed, straight = (load_file(tmp_path / name / MODEL_FILE) for name in ("run", "straight"))
    assert {key: value.tobytes() for key, value in resumed.items()} == {
        key: value.tobytes() for key, value in straight.items()
    }


def test_a_model_that_no_place_takes_is_one_sentence(tmp_path, monkeypatch, capsys):
    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr("fastopt.runs.run.gettempdir", lambda: str(tmp_path / "temporary"))
    options = ["--epochs", "1", "--hidden", "--backend", "reference", "--quiet"]
    assert main(["train", "--out", "run", *options]) == 1
    assert "the run could not be saved there, nor elsewhere: " in capsys.readouterr().err.splitlines()[-1]


# Saving


def test_the_data_are_hashed_once(tmp_path, monkeypatch):
    calls, hash_data = [], fastopt.runs.run._fingerprint
    monkeypatch.setattr(fastopt.runs.run, "_fingerprint", lambda parts: calls.append(parts) or hash_data(parts))
    with Run.start(tmp_path / "run", SMALL) as run:
        for _ in range(3):
            run.save()
    assert len(calls) == 1
    with Run.resume(tmp_path / "run") as again:
        again.save()
    assert len(calls) == 2
    assert load_model(tmp_path / "run").fingerprint == hash_data((run.train, run.test))


def _a_folder_in_its_place(picture, monkeypatch):
    (picture / "kept").mkdir(parents=True)


def _a_full_disk(picture, monkeypatch):
    def fail(figure, path, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)


@pytest.mark.parametrize("spoil", [_a_folder_in_its_place, _a_full_disk])
def test_a_picture_that_cannot_be_written_is_a_warning(spoil, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--hidden", "--backend", "reference", "--quiet"]
    assert main(["train", "--epochs", "0", *options, "--out", "run"]) == 0
    spoil(Path("run/curves.png"), monkeypatch)
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--epochs", "1", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("warning: run/curves.png: cannot be written: ")
    assert err.count("\n") == 1
    assert out == f"saved in run: {MODEL_FILE}, settings.json, history.csv\n"
    assert len(load_model(Path("run")).history) == 1
    assert not [name for name in os.listdir("run") if name.endswith(".tmp")]


def _history(accuracy):
    return [EpochResult(epoch, 1 / epoch, accuracy, 1.5 / epoch, accuracy, 1e4, 0.1) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("accuracy", [None, 0.5])
@pytest.mark.parametrize("name", ["house_prices", "a table of $200 houses with a very long name indeed", "x" * 150])
def test_the_title_of_the_picture_is_inside_it(name, accuracy):
    title = (
        f"{name}: rmsprop_centered_momentum\nMLP(2-1024-1024-1024-1 leaky_relu, mean_squared_error, 2,103,297 float32)"
    )
    figure = draw_history(_history(accuracy), title)
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    assert box.y0 >= max(axes.get_window_extent().y1 for axes in figure.axes)
    assert figure._suptitle.get_text().replace("\n", "").replace(" ", "") == title.replace("\n", "").replace(" ", "")


# Damaged files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was stopped within its second epoch."""
    folder = tmp_path_factory.mktemp("whole")
    x = np.random.default_rng(0).normal(size=(40, 2))
    rows = [f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}" for a, b in x]
    (folder / "table.csv").write_text("\n".join(["a,b,kind", *rows]))
    settings = replace(SMALL, data=str(folder / "table.csv"), target="kind", epochs=2, batch_size=8)
    steps = []

    def stop(position):
        steps.append(position)
        if len(steps) == 6:
            run.training.stop()

    with Run.start(folder / "run", settings) as run:
        run.history += run.training.run(stop)
        run.save()
    assert (run.training.position.epoch, run.training.position.step) == (1, 2)
    return folder


def _header(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastopt"])


def _places(value, place=()):
    """Return the place of every value in a header, containers included."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(inner for key, entry in entries for inner in _places(entry, (*place, key)))]


def _put(header, place, value):
    for key in place[:-1]:
        header = header[key]
    if value is _REMOVED:
        del header[place[-1]]
    else:
        header[place[-1]] = value


_REMOVED = object()
_VALUES = [None, -1, 10**30, float("nan"), "x", [], _REMOVED]


def _with(whole, folder, place, value):
    header = _header(whole / "run" / MODEL_FILE)
    _put(header, place, value)
    tensors = load_file(whole / "run" / MODEL_FILE)
    save_file(tensors, folder / MODEL_FILE, metadata=sealed(header, tensors))


def test_a_changed_value_in_a_run_file_is_one_sentence(whole, tmp_path):
    places = [place for place in _places(_header(whole / "run" / MODEL_FILE)) if place]
    assert len(places) > 60
    refused = []
    arguments = Namespace(model=tmp_path, data=str(whole / "table.csv"), out=tmp_path / "predictions.csv")
    for place in places:
        for value in _VALUES:
            _with(whole, tmp_path, place, value)
            for use in (lambda: Run.resume(tmp_path).close(), lambda: predict.run(arguments)):
                try:
                    use()
                except (ValueError, TypeError, OSError) as error:
                    refused.append(str(error))
    assert not [message for message in refused if "\n" in message]
    assert len(refused) > len(places) * len(_VALUES)


POSITIONS = {
    "a negative step": {"step": -(10**6)},
    "a step before the first": {"step": -1},
    "a step beyond the epoch": {"step": 50, "rows": 32},
    "rows of another step": {"rows": 8},
    "no number": {"loss_sum": "x"},
}


@pytest.mark.parametrize("case", POSITIONS)
def test_a_position_that_cannot_be_is_refused(case, whole, tmp_path):
    saved = _header(whole / "run" / MODEL_FILE)["extra"]["position"]
    _with(whole, tmp_path, ("extra", "position"), saved | POSITIONS[case])
    with pytest.raises(ValueError, match=r"do not fit together \(position"):
        Run.resume(tmp_path)


@pytest.mark.parametrize(("count", "value"), [("step", -1), ("step", "x"), ("skipped", -2), ("lr_scale", float("nan"))])
def test_counts_of_an_optimizer_that_cannot_be_are_refused(count, value, whole, tmp_path):
    _with(whole, tmp_path, ("optimizer", count), value)
    with pytest.raises(ValueError, match=rf"do not fit together \(optimizer\.{count}: got "):
        load_model(tmp_path)


def test_a_header_nested_without_end_is_one_sentence(whole, tmp_path, capsys):
    nested = "[" * 100_000 + "]" * 100_000
    save_file({"w": np.zeros(3)}, tmp_path / MODEL_FILE, metadata={"fastopt": nested})
    assert main(["predict", str(tmp_path), str(whole / "table.csv")]) == 1
    assert "not one that fastopt saved" in capsys.readouterr().err


# Output


@pytest.mark.parametrize(
    "arguments", [["rules"], ["rules", "adam"], ["train", "--help"], ["rules", "ädm"]], ids=" ".join
)
@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
def test_output_that_is_not_utf_8(variables, arguments):
    environment = os.environ | {"PYTHONCOERCECLOCALE": "0"} | variables
    done = subprocess.run(
        [sys.executable, "-m", "fastopt", *arguments], capture_output=True, env=environment, check=False
    )
    assert done.returncode == (1 if "ädm" in arguments else 0)
    assert b"Traceback" not in done.stderr
    text = (done.stdout + done.stderr).decode("ascii")
    assert "train" in text or re.search(r"\\u03b7|\\xe4|\\udcc3", text)


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["train", "--nothing"], "usage: fastopt train "),
        (["predict", "run", "data", "--nothing"], "usage: fastopt predict "),
        (["predict", "run", "data", "more"], "usage: fastopt predict "),
        (["rules", "adam", "--nothing"], "usage: fastopt rules "),
        (["info", "--nothing=3"], "usage: fastopt info "),
        (["bench", "step", "--nothing"], "usage: fastopt bench step "),
    ],
)
def test_an_unknown_argument_shows_the_usage_of_its_command(arguments, usage, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    err = capsys.readouterr().err
    assert (caught.value.code, err.startswith(usage)) == (2, True)
    unknown = "unexpected argument 'more'" if "more" in arguments else "unknown option --nothing"
    assert f"{usage.removeprefix('usage: ').strip()}: error: {unknown}" in err
