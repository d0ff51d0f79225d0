"""Compiled training steps: the gradients are right, and no path, thread, width or backend changes a bit."""

import itertools

import naive_mlp
import numpy as np
import pytest
from conftest import bits, needs

from fastopt import MLP, RULES, Optimizer
from fastopt.backends import why_missing
from fastopt.data import Dataset
from fastopt.elements import ACTIVATIONS
from fastopt.train import Training

COMPILED = [pytest.param(name, marks=needs(name)) for name in ("numba", "c")]
LOSSES = ("softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error", "huber")
ROWS = 40
# Inputs in four parts, in three, in two, in four of unequal length, and in four for small batches alone.
IN_PARTS = [(300, 260), (20, 1000), (9, 2000), (133, 131, 140), (600, 500)]
# A batch, and the one behind it, the last of its epoch. Batches of up to 256 rows are summed in parts, which lie in the
# deltas' memory where that is for four times as many.
LARGE_BATCHES = [*itertools.product((256, 257, 300, 1100), (1, 200)), (1023, 256), (1024, 256)]
# One layer in parts; one that is wider than its inputs; two layers in parts, one above the other.
LARGE_SIZES = [(300, 150, 10), (40, 600, 10), (300, 150, 120, 10)]
# And a layer of so many weights that batches of up to 16 rows alone are summed in parts.
LARGE_CASES = [*itertools.product(LARGE_SIZES, LARGE_BATCHES), *(((600, 500, 10), (64, last)) for last in (1, 16))]


@pytest.fixture(autouse=True)
def _six_numba_threads(monkeypatch):
    """Numba cuts a training into up to six shares, however many processors there are."""
    if why_missing("numba") is None:
        monkeypatch.setattr("fastopt.backends.numba.network.parallel_threads", lambda: 6)


def data(model, loss, seed=0, rows=ROWS):
    """Inputs with zeros among them, and targets of the loss's form, in the model's dtype."""
    rng = np.random.default_rng(seed)
    n_in, n_out = model.sizes[0], model.sizes[-1]
    x = rng.standard_normal((rows, n_in)) * (rng.random((rows, n_in)) < 0.7)
    y = rng.integers(0, n_out, rows) if loss == LOSSES[0] else rng.random((rows, n_out))
    return model.check_data(x, y)


def steps_of(model, optimizer, x, y, **more):
    return Training(model, optimizer, Dataset(x, y, None, "data", "arrays"), sampling="sequential", **more)


def gradient(model, backend, x, y, *, threads=1, rows=ROWS):
    """One gradient as the compiled code gives it: with learning rate zero and a limit, the gradient is kept."""
    optimizer = Optimizer(
        model.parameters, "sgd", layout=model.layout, lr=0.0, max_norm=1e30, backend=backend, threads=threads
    )
    training = steps_of(model, optimizer, x[:rows], y[:rows], batch_size=rows, epochs=1)
    (result,) = training.run()
    return result.train_loss, model.gradients.copy()


def naive(model, x, y):
    views = list(model.layout.views(model.parameters.astype(float)).values())
    names = [layer.activation.name for layer in model.layers]
    targets = y[:, 0] if model.loss.name == LOSSES[1] else y
    loss, parts = naive_mlp.loss_and_gradient(views[::2], views[1::2], x.astype(float), targets, names, model.loss.name)
    return loss, np.concatenate([part.ravel() for part in parts])


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "identity", "elu", "gelu", "silu"])
@pytest.mark.parametrize("hidden", [(), (33,), (17, 40, 5)], ids=str)
def test_gradient_is_the_independent_one(hidden, activation, loss, dtype, backend):
    outputs = 1 if loss == LOSSES[1] else 7
    last = activation if loss in LOSSES[2:] else "identity"
    model = MLP((11, *hidden, outputs), activation=activation, output_activation=last, loss=loss, dtype=dtype, seed=2)
    x, y = data(model, loss)
    for rows in (1, 2, 9, ROWS):
        expected = naive(model, x[:rows], y[:rows])
        given = gradient(model, backend, x, y, rows=rows)
        # Float32: a chain of some forty roundings, relative to the largest element.
        tolerance = {"float64": 1e-13, "float32": 3e-6}[dtype]
        assert given[0] == pytest.approx(expected[0], rel=10 * tolerance)
        np.testing.assert_allclose(given[1], expected[1], rtol=0, atol=tolerance * max(1, np.abs(expected[1]).max()))


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("sizes", IN_PARTS, ids=str)
def test_gradient_of_layers_summed_in_parts_is_the_independent_one(sizes, activation, backend):
    model = MLP((*sizes, 7), activation=activation, dtype="float64", seed=2)
    x, y = data(model, LOSSES[0])
    for rows, threads in ((1, 1), (1, 2), (17, 3), (ROWS, 6)):
        expected = naive(model, x[:rows], y[:rows])
        given = gradient(model, backend, x, y, rows=rows, threads=threads)
        assert given[0] == pytest.approx(expected[0], rel=1e-12)
        np.testing.assert_allclose(given[1], expected[1], rtol=0, atol=1e-12 * np.abs(expected[1]).max())


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("rows", "threads"), [(256, 6), (300, 1), (300, 6)])
@pytest.mark.parametrize("sizes", LARGE_SIZES, ids=str)
def test_gradient_of_large_batches_is_the_independent_one(sizes, rows, threads, backend):
    model = MLP(sizes, activation="leaky_relu", dtype="float64", seed=2)
    x, y = data(model, LOSSES[0], rows=rows)
    expected = naive(model, x, y)
    given = gradient(model, backend, x, y, rows=rows, threads=threads)
    assert given[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(given[1], expected[1], rtol=0, atol=1e-12 * np.abs(expected[1]).max())


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_subgradient_at_a_kink_is_the_chosen_one(activation, kink, backend):
    model = MLP((3, 4, 2), activation=activation, kink=kink, dtype="float64")
    x, y = np.zeros((ROWS, 3)), np.arange(ROWS) % 2
    model["layers.1.weight"][:] = np.arange(8.0).reshape(4, 2) ** 2
    assert bits(model.forward(x[:1])) == bits(np.zeros((1, 2)))
    _, given = gradient(model, backend, x, y[: ROWS // 2 * 2])
    y[:] = 0
    _, given = gradient(model, backend, x, y)
    slope = kink if activation == "relu" else 0.01 + kink * 0.99
    delta = np.array([-0.5, 0.5]) @ model["layers.1.weight"].T
    np.testing.assert_allclose(model.layout.views(given)["layers.0.bias"], slope * delta, rtol=1e-15)


def trained(
    backend, dtype="float32", *, rule="adam", threads=1, first=False, sizes=(50, 70, 33, 10), rows=ROWS, batch=7,
    epochs=2, activation="tanh", loss=LOSSES[0], **more,
):  # fmt: skip
    """Parameters and states after the epochs; `first` forces the gradient to be made before the update."""
    last = "identity" if loss in LOSSES[:2] else activation
    model = MLP(sizes, activation=activation, output_activation=last, loss=loss, dtype=dtype, seed=4, kink=0.25)
    x, y = data(model, loss, rows=rows)
    limit = {"max_norm": 1e30} if first else {}
    groups = {"bias": {"weight_decay": 0.0}}
    optimizer = Optimizer(
        model.parameters, rule, layout=model.layout, groups=groups, weight_decay=0.01, backend=backend, threads=threads,
        **limit, **more,
    )  # fmt: skip
    results = list(steps_of(model, optimizer, x, y, batch_size=batch, epochs=epochs, schedule="cosine").run())
    losses = [(result.train_loss, result.train_accuracy) for result in results]
    return bits(model.parameters, *optimizer.state.values()), losses, optimizer.steps


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw", "rmsprop_centered_momentum"])
def test_update_in_backward_gives_the_bits_of_gradient_first(rule, dtype, backend):
    assert trained(backend, dtype, rule=rule) == trained(backend, dtype, rule=rule, first=True)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("batch", "threads"), list(itertools.product((1, 3, 8, ROWS), (2, 3, 6))))
def test_threads_change_no_bit(batch, threads, backend):
    wide = (300, 260, 140, 10)
    assert trained(backend, batch=batch, threads=threads, sizes=wide) == trained(backend, batch=batch, sizes=wide)


@pytest.mark.skipif(why_missing("numba") is not None or why_missing("c") is not None, reason="needs numba and c")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", [name for name in RULES if name != "adamw"])
def test_numba_and_c_train_to_the_same_bits(rule, dtype):
    assert trained("numba", dtype, rule=rule) == trained("c", dtype, rule=rule)


@pytest.mark.skipif(why_missing("numba") is not None or why_missing("c") is not None, reason="needs numba and c")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numba_and_c_agree_on_every_activation_and_loss(activation, loss, dtype):
    options = {"activation": activation, "loss": loss, "threads": 2}
    assert trained("numba", dtype, **options) == trained("c", dtype, **options)


@pytest.mark.skipif(why_missing("numba") is not None or why_missing("c") is not None, reason="needs numba and c")
@pytest.mark.parametrize("batch", [1, 8, 17, ROWS])
@pytest.mark.parametrize("sizes", IN_PARTS, ids=str)
def test_numba_and_c_agree_on_layers_summed_in_parts(sizes, batch):
    results = [
        trained(backend, batch=batch, sizes=(*sizes, 10), threads=threads)
        for backend, threads in itertools.product(("numba", "c"), (1, 2, 6))
    ]
    assert all(result == results[0] for result in results)


@pytest.mark.skipif(why_missing("numba") is not None or why_missing("c") is not None, reason="needs numba and c")
@pytest.mark.parametrize(("sizes", "batches"), LARGE_CASES, ids=str)
def test_numba_and_c_agree_on_large_batches(sizes, batches):
    results = [
        trained(backend, sizes=sizes, rows=sum(batches), batch=batches[0], threads=threads, epochs=1)
        for backend, threads in itertools.product(("numba", "c"), (1, 2, 6))
    ]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "batches"), LARGE_CASES, ids=str)
def test_a_last_batch_is_trained_on_as_one_in_memory_of_its_own(sizes, batches, dtype, backend):
    def run(trainings):
        model = MLP(sizes, activation="tanh", dtype=dtype, seed=4)
        x, y = data(model, LOSSES[0], rows=sum(batches))
        optimizer = Optimizer(model.parameters, "adam", layout=model.layout, backend=backend, threads=6)
        for rows, batch in trainings:
            list(steps_of(model, optimizer, x[rows], y[rows], batch_size=batch, epochs=1).run())
        return bits(model.parameters, *optimizer.state.values()), optimizer.steps

    first, last = batches
    assert run([(slice(None), first)]) == run([(slice(first), first), (slice(first, None), last)])


@needs("c")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vector_widths_change_no_bit(dtype, monkeypatch):
    from fastopt.backends.c import CBackend

    results = []
    for level in CBackend.levels():
        monkeypatch.setattr("fastopt.optim.optimizer.backend_of", lambda name, level=level: CBackend(level))
        results.append([trained("c", dtype), trained("c", dtype, sizes=(*IN_PARTS[3], 10))])
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("backend", COMPILED)
def test_many_steps_at_once_give_the_bits_of_one_at_a_time(backend):
    def run(**how):
        model = MLP((50, 20, 10), seed=4)
        x, y = data(model, LOSSES[0])
        optimizer = Optimizer(model.parameters, "adam", layout=model.layout, backend=backend)
        results = list(steps_of(model, optimizer, x, y, batch_size=3, epochs=9).run(**how))
        return bits(model.parameters), [result.train_loss for result in results], optimizer.steps

    assert run() == run(on_step=lambda position: None)


@pytest.mark.parametrize("backend", COMPILED)
def test_nan_in_the_weights_stays_visible(backend):
    model = MLP((5, 6, 3))
    x, y = data(model, LOSSES[0])
    model["layers.0.weight"][2, 3] = np.nan
    loss, given = gradient(model, backend, x, y)
    assert np.isnan(loss)
    assert np.isnan(given).any()


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_strided_data_train_like_contiguous_ones(loss, dtype, backend):
    def run(change):
        model = MLP((11, 8, 3), loss=loss, dtype=dtype)
        x, y = data(model, loss)
        model.fit(change(x), change(y), backend=backend, epochs=2, progress=False)
        return bits(model.parameters)

    def every_other(array):
        wide = np.full((2 * len(array), *array.shape[1:]), 10**8, array.dtype)
        wide[::2] = array
        return wide[::2]

    assert run(np.asfortranarray) == run(every_other) == run(np.ascontiguousarray)


@pytest.mark.parametrize("backend", COMPILED)
def test_labels_that_change_under_a_training_do_not_reach_it(backend):
    def run(change):
        model = MLP((11, 8, 3))
        x, y = data(model, LOSSES[0])
        optimizer = Optimizer(model.parameters, "sgd", layout=model.layout, backend=backend)
        for _ in steps_of(model, optimizer, x, y, batch_size=8, epochs=3).run():
            y[:] = change(y)
        return bits(model.parameters)

    assert run(lambda y: y + 10**6) == run(lambda y: y)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_nan_of_every_kind_stays_nan(activation, backend):
    model = MLP((5, 6, 3), activation=activation)
    x, y = data(model, LOSSES[0])
    model["layers.0.weight"].view(np.uint32)[2, 3] = 0x7FC00001
    loss, _ = gradient(model, backend, x, y)
    assert np.isnan(loss)


@pytest.mark.parametrize("backend", COMPILED)
def test_more_threads_than_anyone_has(backend):
    p = np.ones(100_000, np.float32)
    Optimizer(p, "sgd", lr=1.0, backend=backend, threads=100_000, max_norm=1e9).step(np.ones_like(p))
    assert not p.any()
    model = MLP((50, 20, 10))
    x, y = data(model, LOSSES[0])
    model.fit(x, y, backend=backend, threads=300, epochs=1, progress=False)
    assert np.isfinite(model.parameters).all()


def test_making_a_training_leaves_the_optimizer_as_it_is():
    model = MLP((11, 3))
    optimizer = Optimizer(model.parameters, "sgd", layout=model.layout, max_norm=1.0)
    optimizer.lr_scale = 0.25
    steps_of(model, optimizer, *data(model, LOSSES[0]))
    assert optimizer.lr_scale == 0.25
