"""The training loop: steps and epochs against a loop by hand, orders, schedules, stopping, Ctrl-C, memory maps."""

import io
import signal
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import bits, contents, needs
from tqdm import tqdm

from fastopt import MLP, Optimizer
from fastopt.backends import get_backend
from fastopt.data import Dataset, Standardiser, digits, permutation, with_replacement
from fastopt.schedules import SCHEDULES
from fastopt.train import SAMPLING, Batches, ProgressBar, Training, Waiting, stop_on_interrupt

N, FEATURES, CLASSES = 53, 6, 3
RULES = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
    "adam": {"lr": 0.01, "betas": (0.8, 0.99), "max_norm": 0.5},
}
LOSSES = ("softmax_cross_entropy", "mean_squared_error")


def _arrays(loss="softmax_cross_entropy", rows=N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, rows) if loss == LOSSES[0] else rng.normal(size=(rows, CLASSES))
    return x, y


def _dataset(loss="softmax_cross_entropy", rows=N, seed=0):
    x, y = _arrays(loss, rows, seed)
    return Dataset(x, y, tuple("abc") if loss == LOSSES[0] else None, "data", "arrays")


def _training(rule="adam", data=None, *, loss="softmax_cross_entropy", hyper=None, backend=None, **more):
    model = MLP((FEATURES, 8, CLASSES), loss=loss, seed=3)
    hyper = RULES[rule] if hyper is None else hyper
    optimizer = Optimizer(model.parameters, rule, layout=model.layout, backend=backend, threads=1, **hyper)
    return Training(model, optimizer, data or _dataset(loss), **more)


def _state(training):
    return bits(*contents(training.optimizer).values())


# Against a loop by hand, over the model's own NumPy code: compiled steps have their own tests


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rule", RULES)
def test_a_step_on_the_whole_set_is_gradient_and_update(rule, loss):
    training = _training(rule, loss=loss, backend="reference", batch_size=None, sampling="sequential", epochs=4)
    by_hand = _training(rule, loss=loss, backend="reference")
    losses = [result.train_loss for result in training.run()]
    for step in range(4):
        assert by_hand.model.loss_and_gradient(*_arrays(loss)) == pytest.approx(losses[step], rel=1e-15)
        by_hand.optimizer.step(by_hand.model.gradients)
    assert _state(training) == _state(by_hand)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 7, N - 1, N])
@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_is_the_loop_by_hand(rule, batch_size, loss):
    training = _training(rule, loss=loss, backend="reference", batch_size=batch_size, epochs=1, seed=5)
    (result,) = training.run()

    by_hand, (x, y) = _training(rule, loss=loss, backend="reference"), _arrays(loss)
    order, total, right = permutation(N, seed=5, stream=1), 0.0, 0
    for start in range(0, N, batch_size):
        rows = order[start : start + batch_size]
        if loss == LOSSES[0]:
            right += int((by_hand.model.predict(x[rows]) == y[rows]).sum())
        total += by_hand.model.loss_and_gradient(x[rows], y[rows]) * len(rows)
        by_hand.optimizer.step(by_hand.model.gradients)
    assert _state(training) == _state(by_hand)
    assert result.train_loss == pytest.approx(total / N, rel=1e-12)
    assert result.train_accuracy == (right / N if loss == LOSSES[0] else None)
    assert result.epoch == 1
    assert result.samples_per_second > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_evaluation_is_that_of_the_model(loss):
    test = _dataset(loss, rows=600, seed=1)
    training = _training(loss=loss, test=test, epochs=1)
    (result,) = training.run()
    expected = training.model.evaluate(test.inputs, test.targets, batch_size=256)
    assert training.evaluate() == (result.test_loss, result.test_accuracy) == expected
    other = _dataset(loss, rows=10, seed=2)
    assert training.evaluate(Batches(training.model, other)) == training.model.evaluate(other.inputs, other.targets)


def test_without_a_test_part_there_are_no_test_figures():
    (result,) = _training(epochs=1).run()
    assert (result.test_loss, result.test_accuracy) == (None, None)


def test_the_standardiser_is_applied_to_both_parts():
    train, test = _dataset(), _dataset(seed=1)
    standardiser = Standardiser(np.arange(FEATURES) - 2.5, np.arange(1.0, FEATURES + 1))
    scaled = [Dataset(standardiser.apply(x.inputs.copy()), x.targets, x.classes, "", "") for x in (train, test)]
    a = _training(data=train, test=test, standardiser=standardiser, epochs=2)
    b = _training(data=scaled[0], test=scaled[1], epochs=2)
    assert [r.test_loss for r in a.run()] == [r.test_loss for r in b.run()]
    assert _state(a) == _state(b)


# Order, schedule, position


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("sequential", lambda epoch: np.arange(N)),
        ("shuffle", lambda epoch: permutation(N, seed=9, stream=epoch + 1)),
        ("random", lambda epoch: with_replacement(N, N, seed=9, stream=epoch + 1)),
    ],
)
def test_rows_of_each_step(sampling, expected, monkeypatch):
    loaded, load = [], Batches.load
    monkeypatch.setattr(Batches, "load", lambda self, rows: (loaded.append(rows.copy()), load(self, rows))[1])
    training = _training(backend="reference", batch_size=10, sampling=sampling, seed=9, epochs=2)
    list(training.run())
    assert [len(rows) for rows in loaded] == [10, 10, 10, 10, 10, 3] * 2
    for epoch in range(2):
        np.testing.assert_array_equal(np.concatenate(loaded[6 * epoch : 6 * epoch + 6]), expected(epoch))
    same = np.array_equal(np.concatenate(loaded[:6]), np.concatenate(loaded[6:]))
    assert same == (sampling == "sequential")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_sets_the_learning_rate_of_each_step(schedule):
    training, seen = _training(batch_size=10, schedule=schedule, epochs=3), []
    history = list(training.run(lambda position: seen.append(training.optimizer.lr_scale)))
    assert seen == pytest.approx([SCHEDULES[schedule](k / 18) for k in range(18)], abs=1e-15)
    assert [result.lr for result in history] == [0.01 * seen[5], 0.01 * seen[11], 0.01 * seen[17]]
    assert all(a > b for a, b in pairwise(seen)) == (schedule != "constant")


def test_on_step_sees_the_position_behind_each_step():
    training, seen = _training(batch_size=20, epochs=2), []
    list(training.run(lambda position: seen.append((position.epoch, position.step, position.rows))))
    assert seen == [(epoch, step, min(20 * step, N)) for epoch in range(2) for step in (1, 2, 3)]
    assert (training.rows, training.steps_per_epoch) == (N, 3)
    assert training.position.as_dict() == {
        "epoch": 2, "step": 0, "loss_sum": 0.0, "correct": 0, "rows": 0, "seconds": 0.0
    }  # fmt: skip


def test_no_epochs_change_nothing():
    training = _training(epochs=0)
    before = _state(training)
    assert list(training.run()) == []
    assert _state(training) == before


# Stopping and going on


def _figures(history):
    return [(r.epoch, r.train_loss, r.train_accuracy, r.test_loss, r.test_accuracy, r.lr) for r in history]


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("stop_after", [0, 1, 4, 6, 7, 17, 18])
def test_stopped_behind_any_step_and_run_again_ends_in_the_same_bits(stop_after, sampling):
    options = {"batch_size": 10, "epochs": 3, "sampling": sampling, "schedule": "cosine", "test": _dataset(seed=1)}
    straight, stopped, steps = _training(**options), _training(**options), []

    def on_step(position):
        steps.append(position)
        if len(steps) == stop_after:
            stopped.stop()

    if not stop_after:
        stopped.stop()
    history = list(stopped.run(on_step))
    assert len(steps) == stop_after
    assert len(history) == stop_after // 6
    history += stopped.run()
    assert _figures(history) == _figures(straight.run())
    assert _state(stopped) == _state(straight)


def test_ctrl_c_stops_behind_the_step_and_a_second_one_at_once():
    training = _training(epochs=1000)
    with stop_on_interrupt(training) as interrupt:
        signal.raise_signal(signal.SIGINT)  # before the first step: it must not be lost
        assert list(training.run()) == []
        assert interrupt.happened
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_fit_leaves_the_parameters_of_a_whole_step(monkeypatch):
    step, counted = Optimizer.step, []

    def interrupted(self, gradients, **more):
        counted.append(1)
        if len(counted) == 8:
            signal.raise_signal(signal.SIGINT)  # in the middle: gradients are there, the update is not
        step(self, gradients, **more)

    expected = _training(batch_size=10, epochs=2)
    expected_steps = []
    for _ in expected.run(lambda p: (expected_steps.append(p), len(expected_steps) == 8 and expected.stop())):
        pass
    monkeypatch.setattr(Optimizer, "step", interrupted)
    model = MLP((FEATURES, 8, CLASSES), seed=3)
    with pytest.raises(KeyboardInterrupt):
        # With skip_nonfinite, a step is a call for the gradient and then a step of the optimizer.
        model.fit(*_arrays(), rule="adam", epochs=2, batch_size=10, skip_nonfinite=True, **RULES["adam"])
    assert len(counted) == len(expected_steps) == 8
    assert bits(model.parameters) == bits(expected.model.parameters)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_in_another_thread_gives_the_same_bits():
    models = [MLP((FEATURES, 8, CLASSES), seed=3) for _ in range(2)]
    thread = threading.Thread(target=models[0].fit, args=_arrays(), kwargs={"epochs": 3})
    thread.start()
    thread.join()
    models[1].fit(*_arrays(), epochs=3)
    assert bits(models[0].parameters) == bits(models[1].parameters)
    assert bits(models[0].parameters) != bits(MLP((FEATURES, 8, CLASSES), seed=3).parameters)


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in ("reference", "numba", "c")])
def test_fit_takes_a_backend_that_was_made(name):
    models = [MLP((FEATURES, 8, CLASSES), seed=3) for _ in range(2)]
    for model, backend in zip(models, (name, get_backend(name)), strict=True):
        model.fit(*_arrays(), epochs=1, backend=backend)
    assert bits(models[0].parameters) == bits(models[1].parameters)
    with pytest.raises(TypeError, match="backend: got 3, expected one of"):
        models[0].fit(*_arrays(), backend=3)


def test_fit_goes_on_from_the_weights_as_they_are():
    once, twice = MLP((FEATURES, 8, CLASSES)), MLP((FEATURES, 8, CLASSES))
    arguments = {"rule": "sgd", "lr": 0.1, "sampling": "sequential"}
    whole = once.fit(*_arrays(), epochs=4, **arguments)
    parts = [twice.fit(*_arrays(), epochs=2, **arguments) for _ in range(2)]
    assert [r.train_loss for r in whole] == [r.train_loss for part in parts for r in part]
    assert bits(once.parameters) == bits(twice.parameters)


def test_steps_without_a_finite_gradient_are_counted_and_left_out():
    training = _training(hyper={"skip_nonfinite": True}, batch_size=10, epochs=2)
    training.model["layers.1.bias"][0] = np.nan
    before = bits(training.model.parameters)
    assert [np.isnan(result.train_loss) for result in training.run()] == [True, True]
    assert (training.optimizer.skipped, training.optimizer.steps) == (12, 0)
    assert bits(training.model.parameters) == before


# Data larger than memory


def test_a_memory_map_gives_the_same_bits_and_is_never_loaded_whole(tmp_path):
    rows = 40_000
    x = np.random.default_rng(0).normal(size=(rows, 80))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    standardiser, ends, peaks = Standardiser(x.mean(axis=0), x.std(axis=0)), [], []
    for inputs in (mapped, x):
        data = Dataset(inputs, (x[:, 0] > 0).astype(np.int64), ("no", "yes"), "x", "x.npy")
        train, test = data.take(np.arange(rows - 1000)), data.take(np.arange(rows - 1000, rows))
        model = MLP((80, 4, 2))
        optimizer = Optimizer(model.parameters, "adam", threads=1)
        tracemalloc.start()
        training = Training(
            model, optimizer, train, test=test, standardiser=standardiser, batch_size=500, epochs=1, sampling="shuffle"
        )
        (result,) = training.run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        ends.append((*bits(*contents(optimizer).values()), result.train_loss, result.test_loss))
    assert ends[0] == ends[1]
    assert peaks[0] < x.nbytes / 6 < x.nbytes / 2 < peaks[1]


# Progress


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("terminal", "disable", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_the_bar_is_for_terminals(terminal, disable, shown, monkeypatch, capsys):
    stream = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    training = _training(epochs=3)
    with ProgressBar(training, disable=disable) as bar:
        for result in training.run(bar):
            bar.describe(result)
            bar.write(f"epoch {result.epoch}")
    assert ("samples" in stream.getvalue()) == shown
    assert capsys.readouterr().out.split("\n")[:3] == ["epoch 1", "epoch 2", "epoch 3"]


def test_a_line_goes_into_a_pipe_at_once(monkeypatch):
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe))
    with ProgressBar(_training()) as bar:
        bar.write("epoch 1")
        assert pipe.getvalue().split() == [b"epoch", b"1"]


def test_the_bar_leaves_no_thread(monkeypatch):
    stream, before = _Terminal(), threading.enumerate()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(tqdm, "monitor", None)  # as in a new process
    training = _training(epochs=3)
    with ProgressBar(training) as bar:
        list(training.run(bar))
    assert "samples" in stream.getvalue()
    assert threading.enumerate() == before


def test_fit_without_standard_error(monkeypatch, capsys):
    """As in a program with windows and no console."""
    monkeypatch.setattr("sys.stderr", None)
    assert len(MLP((FEATURES, CLASSES)).fit(*_arrays(), epochs=2)) == 2
    with ProgressBar(_training()) as bar, Waiting("compiling", delay=0.001):
        time.sleep(0.02)
        bar.write("epoch 1")
    assert capsys.readouterr().out == "epoch 1\n"


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size: got 0, expected a whole number from 1"),
        ({"batch_size": 1.5}, "batch_size: got 1.5"),
        ({"batch_size": N + 1}, f"batch_size: got {N + 1}, expected at most {N}"),
        ({"epochs": -1}, "epochs: got -1"),
        ({"epochs": 2.5}, "epochs: got 2.5"),
        ({"sampling": "shufle"}, "unknown sampling 'shufle': did you mean 'shuffle'"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"test": Dataset(np.zeros((2, 4)), np.zeros(2, int), ("a",), "other", "")}, "other: got 4 features a row"),
        ({"test": Dataset(np.zeros((2, FEATURES)), np.array([0, 3]), tuple("abcd"), "other", "")}, "3"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words.replace("(", r"\(")):
        _training(**arguments)


def test_an_optimizer_of_other_parameters_is_refused():
    model = MLP((FEATURES, CLASSES))
    with pytest.raises(ValueError, match="updates other parameters"):
        Training(model, Optimizer(model.parameters.copy()), _dataset())


@pytest.mark.parametrize("argument", ["epoch", "validation_data", "layout", "momentum"])
def test_fit_says_what_it_takes(argument):
    model = MLP((FEATURES, CLASSES))
    before = bits(model.parameters)
    with pytest.raises(
        TypeError, match=f"fit: got an unknown argument '{argument}', expected x, y, rule, epoch"
    ) as error:
        model.fit(*_arrays(), rule="adam", **{argument: 1})
    assert "the optimizer's groups, states, rounding, backend, threads, " in str(error.value)
    assert str(error.value).endswith("adam's lr, betas, eps, weight_decay")
    assert bits(model.parameters) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, np.where(np.arange(N) == 7, CLASSES, y)), r"out of range, the first \(3\) at row 7"),
        (lambda x, y: (x, np.where(np.arange(N) == 7, -1, y)), r"out of range, the first \(-1\) at row 7"),
        (lambda x, y: (np.where(np.arange(N)[:, None] == 7, np.nan, x), y), "row 7"),
        (lambda x, y: (x[:, 1:], y), r"\(rows, 6\)"),
        (lambda x, y: (x[1:], y), "got 53 rows, expected 52"),
        (lambda x, y: (x[:0], y[:0]), "got no rows"),
    ],
)
def test_fit_refuses_wrong_data_and_changes_nothing(change, words):
    model = MLP((FEATURES, 8, CLASSES))
    before = bits(model.parameters)
    with pytest.raises(ValueError, match=words):
        model.fit(*change(*_arrays()))
    assert bits(model.parameters) == before


def test_fit_refuses_targets_that_are_not_finite():
    with pytest.raises(ValueError, match=r"y: got .*inf"):
        MLP((FEATURES, 1), loss="mean_squared_error").fit(_arrays()[0], np.full((N, 1), np.inf))


def test_a_large_offset_of_a_feature_is_standardised_away(tmp_path):
    """Such as years or coordinates: in float32 the mean would take all digits along."""
    data = digits()
    moved = replace(data, inputs=data.inputs + np.where(np.arange(64) == 20, 1e8, 0.0))
    rows = np.arange(len(data))
    loaded = []
    for each in (data, moved):
        model = MLP((64, 10))
        model.workspace.reserve(len(data))
        Batches(model, each, Standardiser.fit(each)).load(rows)
        loaded.append(model.workspace.inputs[: len(data)].copy())
    np.testing.assert_allclose(*loaded, rtol=0, atol=1e-6)


def test_an_ignored_ctrl_c_stays_ignored():
    training = _training(epochs=3)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_interrupt(training) as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert len(list(training.run())) == 3
    assert not interrupt.happened
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_waiting_text_is_for_terminals(monkeypatch):
    for stream, disable, shown in (
        (_Terminal(), False, True),
        (_Terminal(), True, False),
        (io.StringIO(), False, False),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        with Waiting("compiling", delay=0.01, disable=disable):
            time.sleep(0.1)
        assert stream.getvalue().startswith("\rcompiling (0 s)") == shown
        assert stream.getvalue().endswith("\r") == shown
    monkeypatch.setattr("sys.stderr", _Terminal())
    with Waiting("compiling"):
        pass
    assert sys.stderr.getvalue() == ""
