"""Training by rules of several stages in compiled calls: the bits of one step at a time, in as few calls."""

from fractions import Fraction

import numpy as np
import own_rules
import pytest
from conftest import bits, contents, needs

from fastopt import MLP, RULES, Optimizer, fma, rule
from fastopt.backends import get_backend, why_missing
from fastopt.data import Dataset
from fastopt.train import Training, program
from fastopt.train.staged import staged_update

COMPILED = [pytest.param(name, marks=needs(name)) for name in ("numba", "c")]
ROWS, BATCH, EPOCHS = 53, 5, 2
CASES = {
    "max_norm": ("sgd", {"lr": 0.1, "max_norm": 0.3}),
    "max_norm not reached": ("sgd", {"lr": 0.1, "max_norm": 1e9}),
    "both limits, decay": ("adamw", {"max_norm": 0.3, "max_segment_norm": 0.1, "weight_decay": 0.1, "lr": 0.01}),
    "maximize, clip_value": ("momentum", {"max_norm": 0.3, "maximize": True, "clip_value": 1e-3, "lr": 0.01}),
    "coefficient clip_value": ("scaled_clip", {"max_norm": 0.3, "lr": 0.01}),
    "lamb": ("lamb", {"lr": 0.01, "weight_decay": 0.1}),
    "lamb, max_norm": ("lamb", {"lr": 0.01, "max_norm": 0.3}),
    "prodigy": ("prodigy", {"d0": 1e-3, "weight_decay": 0.1}),
    "prodigy, max_segment_norm": ("prodigy", {"d0": 1e-3, "max_segment_norm": 0.1}),
    "schedule_free, max_norm": ("schedule_free_adamw", {"lr": 0.01, "max_norm": 0.3}),
    "a user's": (own_rules.scaled_by_norms, {"lr": 0.01}),
    "a user's, max_norm": (own_rules.scaled_by_norms, {"lr": 0.01, "max_norm": 0.3}),
}


@pytest.fixture(autouse=True)
def _three_numba_threads(monkeypatch):
    """Numba shares a training between as many threads as are asked for, however many processors there are."""
    if why_missing("numba") is None:
        monkeypatch.setattr("fastopt.backends.numba.network.parallel_threads", lambda: 3)


@pytest.fixture
def calls(monkeypatch):
    """The number of rows of each compiled call."""
    counts = []

    def counted(take):
        def count(self, rows, *others):
            counts.append(len(rows))
            return take(self, rows, *others)

        return count

    for kind in ("_StagedProgram", "_FusedProgram", "_TwoPhaseProgram"):
        program_of = getattr(program, kind)
        monkeypatch.setattr(program_of, "take", counted(program_of.take))
    return counts


def make(name, backend, *, dtype="float32", threads=1, sizes=(9, 40, 500, 5), schedule="cosine", **more):
    """A training whose weights are of one chunk and of several, and whose biases are a group of their own."""
    rule, hyper = CASES[name] if isinstance(name, str) else name
    model = MLP(sizes, dtype=dtype, seed=3)
    rng = np.random.default_rng(1)
    x, y = model.check_data(rng.standard_normal((ROWS, sizes[0])), rng.integers(0, sizes[-1], ROWS))
    groups = {"bias": {"weight_decay": 0.0}} if hyper.get("weight_decay") else None
    optimizer = Optimizer(
        model.parameters, rule, layout=model.layout, backend=backend, threads=threads, groups=groups, **hyper
    )
    data = Dataset(x, y, None, "data", "arrays")
    return Training(model, optimizer, data, batch_size=BATCH, epochs=EPOCHS, schedule=schedule, **more)


def by_hand(name, backend, **more):
    """The same training with gradients from the compiled code, and a step of the optimizer after each."""
    training = make(name, backend, **more)
    model, optimizer, losses = training.model, training.optimizer, []
    for epoch in range(EPOCHS):
        rows, total = training._sampling(ROWS, 0, epoch), 0.0
        for step, start in enumerate(range(0, ROWS, BATCH)):
            batch = rows[start : start + BATCH]
            loss, gradient = gradient_of(model, backend, training, batch)
            optimizer.lr_scale = training._schedule((epoch + step / training.steps_per_epoch) / EPOCHS)
            optimizer.step(gradient)
            total += loss * len(batch)
        losses.append(total / ROWS)
    return training, losses


def gradient_of(model, backend, training, rows):
    """Return loss and gradient of one batch: with skip_nonfinite, a step computes the gradient in a call of its own."""
    copy = MLP(model.sizes, dtype=model.dtype, seed=3)
    copy.parameters[:] = model.parameters
    optimizer = Optimizer(copy.parameters, "sgd", layout=copy.layout, lr=0.0, skip_nonfinite=True, backend=backend)
    data = Dataset(training._batches.inputs[rows], training._batches.targets[rows], None, "data", "arrays")
    (result,) = Training(copy, optimizer, data, batch_size=len(rows), epochs=1, sampling="sequential").run()
    return result.train_loss, copy.gradients


def outcome(training):
    optimizer = training.optimizer
    memory = [group["memory"] for group in optimizer.state_dict()["groups"].values()]
    return bits(*contents(optimizer).values()), memory, optimizer.steps, optimizer.lr_scale


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_a_call_has_the_bits_of_single_steps(name, dtype, backend):
    expected, losses = by_hand(name, backend, dtype=dtype)
    for threads in (1, 2, 3):
        training = make(name, backend, dtype=dtype, threads=threads)
        training._steps_per_call = 100
        results = list(training.run())
        assert outcome(training) == outcome(expected)
        assert [result.train_loss for result in results] == pytest.approx(losses, rel=1e-12)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("name", ["both limits, decay", "lamb", "prodigy", "a user's"])
def test_calls_of_any_length_give_the_same_bits(name, backend, calls):
    expected = make(name, backend)
    losses = [result.train_loss for result in expected.run(on_step=lambda position: None)]
    assert len(calls) == EPOCHS * expected.steps_per_epoch
    for steps in (1, 3, 100):
        calls.clear()
        training = make(name, backend, threads=2)
        training._take = _cut(training, steps)
        assert [result.train_loss for result in training.run(on_progress=lambda position: None)] == losses
        assert outcome(training) == outcome(expected)
        assert len(calls) == EPOCHS * -(-training.steps_per_epoch // steps)


def _cut(training, steps):
    """Have all calls take so many steps, however long they take."""
    take = training._take

    def cut(rows, count):
        take(rows, count)
        return 0.03 * count / steps

    training._steps_per_call = steps
    return cut


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("name", ["max_norm", "lamb, max_norm", "prodigy", "schedule_free, max_norm"])
def test_a_training_that_is_resumed_gives_the_same_bits(name, backend):
    expected = make(name, backend)
    list(expected.run())

    first = make(name, backend)
    first._steps_per_call = 4
    list(first.run(on_progress=lambda position: first.stop()))
    assert 0 < first.position.step < first.steps_per_epoch
    second = make(name, backend, position=first.position)
    second.model.parameters[:] = first.model.parameters
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    list(second.run())
    assert outcome(second) == outcome(expected)


@pytest.mark.parametrize("backend", COMPILED)
def test_hyper_parameters_that_are_loaded_hold_for_each_group(backend):
    loaded, expected = make("max_norm", backend), make(("sgd", {**CASES["max_norm"][1], "weight_decay": 0.1}), backend)
    loaded.optimizer.load_state_dict(expected.optimizer.state_dict())
    list(loaded.run())
    list(expected.run())
    assert outcome(loaded) == outcome(expected)


@pytest.mark.parametrize("backend", COMPILED)
def test_a_limit_that_is_set_later_holds(backend):
    late, expected = make(("sgd", {"lr": 0.1}), backend), make("max_norm", backend)
    late.optimizer.max_norm = 0.3
    list(late.run())
    list(expected.run())
    assert outcome(late) == outcome(expected)


@pytest.mark.parametrize("backend", COMPILED)
def test_an_infinite_gradient_spreads_as_step_by_step(backend):
    case = ("sgd", {"lr": 1e30, "max_norm": 1e30})
    expected, training = make(case, backend), make(case, backend, threads=3)
    list(expected.run(on_step=lambda position: None))
    training._steps_per_call = 100
    list(training.run())
    assert not np.isfinite(training.model.parameters).all()
    assert outcome(training) == outcome(expected)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(
    "case",
    [
        ("muon", {}),
        ("sgd", {"max_norm": 1.0, "skip_nonfinite": True}),
        ("sgd", {"max_norm": 1.0, "zero_grad": True}),
    ],
    ids=["muon", "skip_nonfinite", "zero_grad"],
)
def test_what_the_host_has_to_do_takes_a_call_a_step(case, backend, calls):
    training = make(case, backend)
    training._steps_per_call = 1
    list(training.run())
    assert len(calls) == EPOCHS * training.steps_per_epoch


@rule(sums=("squares",), writes=())
def normed(p, g):
    return (g, g)


@normed.memory(start=1.0)
def largest(largest, total_squares):
    return max(largest, float(Fraction(float(total_squares))))


@normed.sweep(writes=("p",))
def go(p, g, *, lr, largest):
    return fma(-lr / largest, g, p)


@normed.coefficients
def _coefficients(t, *, lr=0.1):
    return {"lr": lr}


@pytest.mark.parametrize("backend", COMPILED)
def test_numbers_that_do_not_compile_are_computed_by_the_host(backend, calls):
    training = make((normed, {}), backend)
    list(training.run())
    assert training.optimizer.steps == len(calls) == EPOCHS * training.steps_per_epoch
    assert training.optimizer.state_dict()["groups"]["weight"]["memory"]["largest"] > 1.0


@needs("c")
def test_the_c_library_has_the_numbers_of_all_built_in_rules_of_sweeps():
    from fastopt.backends.c_staged import numbers_function
    from fastopt.backends.staged import SpanSpec, StagedUpdate
    from fastopt.rules import MatrixStage, with_limits

    for built_in in RULES.values():
        if not any(isinstance(stage, MatrixStage) for stage in built_in.stages):
            for one in (built_in, with_limits(built_in), with_limits(built_in(lr=0.5))):
                assert numbers_function(StagedUpdate(one, (), (SpanSpec(0, 1, 0),), by_layer=False)) is not None


@pytest.mark.parametrize("backend", COMPILED)
def test_many_steps_are_one_call(backend, monkeypatch):
    made = get_backend(backend)
    trained = []
    make_trainer = type(made).staged_trainer

    def counting(self, *arguments):
        trainer = make_trainer(self, *arguments)

        def train(*given):
            trained.append(len(given[4]))
            return trainer(*given)

        return train

    monkeypatch.setattr(type(made), "staged_trainer", counting)
    training = make("max_norm", backend)
    training._steps_per_call = 100
    monkeypatch.setattr("fastopt.train.training._CALL_SECONDS", 1e9)
    list(training.run())
    assert trained == [ROWS] * EPOCHS


def test_rules_whose_numbers_depend_on_no_other_layer_update_layer_by_layer():
    by_layer = {name: staged_update(make(name, "reference").optimizer).by_layer for name in CASES}
    assert {name for name, is_so in by_layer.items() if is_so} == {"lamb", "a user's"}
