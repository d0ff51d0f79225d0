"""Training on a GPU in numba-cuda's simulator; `simulated.py` runs this.

NumPy multiplies in place of cuBLAS, and a captured graph is a list of launches. What is shown: that the kernels and
their order give the gradients of an independent network and the steps of the other backends, whatever is replayed, cut
or sent in pieces.
"""

import ctypes
import gc
import weakref

import naive_mlp
import numpy as np
import pytest
from conftest import bits, needs
from cuda_simulation import exact  # noqa: F401
from test_engine import LOSSES, data, naive

from fastopt import MLP, Optimizer, elements
from fastopt.backends.cuda import activations, gather, network, products, shim, sums
from fastopt.backends.cuda.elements import scalar
from fastopt.backends.cuda.memory import DeviceBuffer
from fastopt.cli import main
from fastopt.data import Dataset
from fastopt.train import Training

ACTIVATIONS = tuple(naive_mlp.ACTIVATIONS)
DTYPES = ("float32", "float64")


@pytest.fixture
def blocks_as_they_are():
    """Have a test run with blocks of the size that a GPU gets."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch, request):
    """Each of a block's threads is a thread of Python; rows are wider than a block then, too."""
    if "blocks_as_they_are" in request.fixturenames:
        return
    sizes = {"COLUMNS": 4, "COLUMN_BLOCK": 16, "_HALF": 8, "_APART": 4, "LANES": 8, "_HALF_LANES": 4}
    for name, size in sizes.items():
        kind = np.uint64 if name.startswith("_") else int
        monkeypatch.setattr(sums, name, kind(size))
    monkeypatch.setattr(sums, "_COLUMNS", np.uint64(4))
    monkeypatch.setattr(sums, "_LANES", np.uint64(8))
    for module in (activations, gather):
        monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr("fastopt.backends.cuda.step._WARP", 4)
    monkeypatch.setattr("fastopt.backends.cuda.losses.BLOCK", 4)
    monkeypatch.setattr("fastopt.backends.cuda.launch.BLOCK", 8)
    monkeypatch.setattr("fastopt.backends.cuda.numbers.BLOCK", 2)
    monkeypatch.setattr("fastopt.backends.cuda.reductions.TILE", 2)
    monkeypatch.setattr("fastopt.backends.cuda.reductions._TILE", np.uint64(2))


def training(model, optimizer, x, y, **more):
    return Training(model, optimizer, Dataset(x, y, None, "data", "arrays"), **more)


def gradient(model, x, y, **options):
    """Return loss and gradient of one batch: what one step of gradient descent with learning rate 1 subtracts."""
    before = model.parameters.copy()
    optimizer = model.make_optimizer("sgd", backend="cuda", lr=1.0, **options)
    (result,) = training(model, optimizer, x, y, batch_size=None, epochs=1).run()
    given = before.astype(float) - model.parameters
    model.parameters = before
    return result, given


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_is_the_independent_one(activation, loss, dtype):
    outputs = 1 if loss == LOSSES[1] else 3
    last = activation if loss == LOSSES[2] else "identity"
    model = MLP((5, 9, outputs), activation=activation, output_activation=last, loss=loss, dtype=dtype, seed=2)
    model.parameters += np.linspace(-0.1, 0.1, model.parameters.size, dtype=dtype)
    x, y = data(model, loss, rows=11)
    expected = naive(model, x, y)
    result, given = gradient(model, x, y)
    tolerance = {"float64": 1e-14, "float32": 1e-6}[dtype]
    assert result.train_loss == pytest.approx(expected[0], rel=10 * tolerance)
    np.testing.assert_allclose(given, expected[1], rtol=0, atol=tolerance * max(1, np.abs(expected[1]).max()))


@pytest.mark.parametrize("sizes", [(5, 3), (40, 33, 7, 2), (3, 300, 2)], ids=str)
def test_gradient_of_other_shapes_is_the_independent_one(sizes):
    """No hidden layer, several, and one that is wider than all blocks."""
    model = MLP(sizes, activation="tanh", dtype="float64", seed=2)
    x, y = data(model, LOSSES[0], rows=5)
    expected = naive(model, x, y)
    result, given = gradient(model, x, y)
    assert result.train_loss == pytest.approx(expected[0], rel=1e-13)
    np.testing.assert_allclose(given, expected[1], rtol=0, atol=1e-14 * max(1, np.abs(expected[1]).max()))


@pytest.mark.parametrize("rows", [31, 2 * 128 + 3])
def test_blocks_of_the_size_that_a_gpu_gets(rows, blocks_as_they_are):
    model = MLP((1, 2), dtype="float64", seed=2)
    x, y = data(model, LOSSES[0], rows=rows)
    expected = naive(model, x, y)
    result, given = gradient(model, x, y)
    assert result.train_loss == pytest.approx(expected[0], rel=1e-13)
    np.testing.assert_allclose(given, expected[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_subgradient_at_a_kink_is_the_chosen_one(activation, kink):
    model = MLP((3, 4, 2), activation=activation, kink=kink, dtype="float64")
    x, y = np.zeros((4, 3)), np.zeros(4, np.int64)
    model["layers.1.weight"][:] = np.arange(8.0).reshape(4, 2) ** 2
    _, given = gradient(model, x, y)
    slope = kink if activation == "relu" else 0.01 + kink * 0.99
    delta = np.array([-0.5, 0.5]) @ model["layers.1.weight"].T
    np.testing.assert_allclose(model.layout.views(given)["layers.0.bias"], slope * delta, rtol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_stays_visible(activation):
    model = MLP((2, 3, 2), activation=activation)
    model["layers.0.weight"][1, 1] = np.nan
    with np.errstate(invalid="ignore"):
        result, given = gradient(model, *data(model, LOSSES[0], rows=3))
    assert np.isnan(result.train_loss)
    assert np.isnan(given).any()


@needs("numba")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh"])
def test_functions_have_the_bits_of_the_cpu(name, dtype, exact):  # noqa: F811
    from test_numba_engine import elementwise

    x = np.array([*np.linspace(-3, 3, 25), -0.0, 0.625, -90, 100, 1e-30, -1e4, np.inf, -np.inf], dtype)
    word = getattr(elements, name)
    function = scalar(x.dtype)(elements.IN_DTYPE[dtype].get(word, word))
    with np.errstate(all="ignore"):
        given = np.array([function(number) for number in x], dtype)
    assert bits(given) == bits(elementwise(name)(x))


def trained(
    backend, dtype="float32", *, rule="adam", loss=LOSSES[0], alike=True, run=None, rows=17, activation="tanh", **more
):
    """Return parameters, states and results of three epochs in which each last batch is smaller."""
    model = MLP((4, 6, 3), activation=activation, loss=loss, dtype=dtype, seed=4)
    groups = {} if alike else {"bias": {"weight_decay": 0.0}}
    optimizer = model.make_optimizer(rule, backend=backend, groups=groups, weight_decay=0.01, lr=0.01, **more)
    x, y = data(model, loss, rows=rows)
    results = list(training(model, optimizer, x, y, batch_size=5, epochs=3, schedule="cosine").run(**run or {}))
    losses = [(result.train_loss, result.train_accuracy) for result in results]
    return [model.parameters.copy(), *optimizer.read_state().values()], losses, optimizer.steps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("rule", ["adam", "sgd", "rmsprop_centered_momentum"])
def test_three_epochs_agree_with_the_reference(rule, alike, dtype):
    given, expected = (trained(backend, dtype, rule=rule, alike=alike) for backend in ("cuda", "reference"))
    assert given[2] == expected[2] == 12
    tolerance = {"float64": 1e-11, "float32": 2e-4}[dtype]  # Adam divides by roots of tiny numbers
    np.testing.assert_allclose(given[1], expected[1], rtol=tolerance)
    for one, other in zip(given[0], expected[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_as_on_the_cpu(loss):
    given, expected = (trained(backend, "float64", loss=loss) for backend in ("cuda", "reference"))
    np.testing.assert_allclose(np.array(given[1], float), np.array(expected[1], float), rtol=1e-11)
    np.testing.assert_allclose(given[0][0], expected[0][0], rtol=0, atol=1e-11)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_activations_that_keep_their_input_train_as_on_the_cpu(activation):
    given, expected = (trained(backend, "float64", activation=activation) for backend in ("cuda", "reference"))
    np.testing.assert_allclose(given[0][0], expected[0][0], rtol=0, atol=1e-11)


def test_labels_stand_for_one_hot_rows_with_the_mean_squared_error():
    results = []
    for backend in ("cuda", "reference"):
        model = MLP((4, 3), loss=LOSSES[2], dtype="float64")
        x, _ = data(model, LOSSES[2], rows=7)
        history = model.fit(x, np.arange(7) % 3, backend=backend, epochs=2, batch_size=4, progress=False)
        results.append(([r.train_accuracy for r in history], model.parameters.copy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_gradient_first_gives_the_same_bits(dtype):
    first, fused = trained("cuda", dtype, max_norm=1e30), trained("cuda", dtype)
    assert bits(*first[0]) == bits(*fused[0])
    assert first[1:] == fused[1:]


def test_a_limit_of_the_norm_works():
    given, expected = (trained(backend, "float64", max_norm=0.1) for backend in ("cuda", "reference"))
    np.testing.assert_allclose(given[0][0], expected[0][0], rtol=0, atol=1e-11)


def test_a_step_that_is_not_finite_is_left_out():
    model = MLP((2, 2))
    model["layers.0.bias"][1] = np.nan
    before = bits(model.parameters)
    optimizer = model.make_optimizer("adam", backend="cuda", skip_nonfinite=True)
    list(training(model, optimizer, *data(model, LOSSES[0], rows=2), batch_size=None, epochs=1).run())
    assert (optimizer.skipped, optimizer.steps) == (1, 0)
    assert bits(model.parameters) == before


def test_one_call_or_many_change_no_bit():
    many, single = trained("cuda"), trained("cuda", run={"on_step": lambda position: None})
    assert bits(*many[0]) == bits(*single[0])
    assert many[1:] == single[1:]


def test_data_that_does_not_fit_is_sent_in_pieces_to_the_same_bits(monkeypatch):
    expected = trained("cuda", alike=False)
    monkeypatch.setattr(shim, "free_memory", lambda: 0)
    monkeypatch.setattr(network, "BYTES_AT_ONCE", 300)
    given = trained("cuda", alike=False)
    assert bits(*given[0]) == bits(*expected[0])
    assert given[1:] == expected[1:]


def test_tables_that_are_smaller_than_an_epoch_change_no_bit(monkeypatch):
    expected = trained("cuda")
    monkeypatch.setattr(network, "ROWS_AT_ONCE", 10)
    assert bits(*trained("cuda")[0]) == bits(*expected[0])


def test_data_on_disk_train_as_data_in_memory(tmp_path):
    results = []
    for on_disk in (False, True):
        model = MLP((4, 3), seed=1)
        x, y = data(model, LOSSES[0], rows=7)
        if on_disk:
            np.save(tmp_path / "x.npy", x)
            x = np.load(tmp_path / "x.npy", mmap_mode="r")
        optimizer = model.make_optimizer("adam", backend="cuda")
        list(training(model, optimizer, x, y, batch_size=3, epochs=2).run())
        results.append(bits(model.parameters))
    assert results[0] == results[1]


def test_a_step_is_captured_once_for_each_number_of_rows(monkeypatch):
    captured, replayed = [], []

    def capture(function, stream):
        graph = network_capture(function, stream)
        captured.append(graph)
        replay = graph.replay
        graph.replay = lambda: (replayed.append(graph), replay())
        return graph

    network_capture = network.capture
    monkeypatch.setattr(network, "capture", capture)
    trained("cuda")
    # Three epochs of three batches of five rows and one of two: the first of each kind is launched as it is.
    assert len(captured) == 2
    assert [replayed.count(graph) for graph in captured] == [8, 2]


def test_the_model_is_current_behind_each_epoch_and_takes_what_it_is_given():
    model = MLP((4, 3))
    x, y = data(model, LOSSES[0], rows=6)
    optimizer = model.make_optimizer("sgd", backend="cuda", lr=0.5)
    run = training(model, optimizer, x, y, batch_size=3, epochs=3).run()
    before = model.parameters.copy()
    next(run)
    assert bits(model.parameters) != bits(before)
    assert bits(optimizer.parameters.copy_to_host()) == bits(model.parameters)
    model.parameters = before
    next(run)
    again = MLP((4, 3))
    other = training(again, again.make_optimizer("sgd", lr=0.5, backend="cuda"), x, y, batch_size=3, epochs=3).run()
    next(other)
    again.parameters = before
    next(other)
    assert bits(model.parameters) == bits(again.parameters)
    assert bits(model.parameters) != bits(before)


def test_on_step_sees_the_parameters_of_that_step():
    model = MLP((4, 3))
    x, y = data(model, LOSSES[0], rows=6)
    seen = []
    run = training(model, model.make_optimizer("sgd", backend="cuda"), x, y, batch_size=2, epochs=1)
    list(run.run(lambda position: seen.append(bits(model.parameters))))
    assert len({part for (part,) in seen}) == 3


def test_a_download_within_an_epoch_gives_what_the_device_has_and_changes_nothing():
    straight, model = MLP((4, 3)), MLP((4, 3))
    x, y = data(model, LOSSES[0], rows=6)
    list(training(straight, straight.make_optimizer("sgd", backend="cuda"), x, y, batch_size=2, epochs=2).run())
    optimizer = model.make_optimizer("sgd", backend="cuda")
    run, seen = training(model, optimizer, x, y, batch_size=2, epochs=2), []

    def download(position):
        run.download()
        seen.append(bits(model.parameters))
        assert seen[-1] == bits(optimizer.parameters.copy_to_host())

    list(run.run(on_progress=download))
    assert len({part for (part,) in seen}) > 1
    assert bits(model.parameters) == bits(straight.parameters)


def test_an_interrupted_training_leaves_the_model_at_its_last_step():
    model = MLP((4, 3))
    x, y = data(model, LOSSES[0], rows=6)
    optimizer = model.make_optimizer("sgd", backend="cuda")
    run = training(model, optimizer, x, y, batch_size=2, epochs=1)
    assert not list(run.run(on_progress=lambda position: run.stop()))
    assert optimizer.steps == run.position.step == 1
    assert bits(optimizer.parameters.copy_to_host()) == bits(model.parameters) != bits(MLP((4, 3)).parameters)


def test_predict_uses_what_was_learnt():
    model = MLP((2, 8, 2), seed=3)
    x = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0]], np.float32)
    model.fit(x, [0, 1, 0, 1], backend="cuda", lr=0.1, epochs=8, batch_size=None, progress=False)
    assert model.predict(x).tolist() == [0, 1, 0, 1]


def test_another_model_s_optimizer_is_refused():
    model, other = MLP((4, 3)), MLP((4, 3))
    with pytest.raises(ValueError, match=r"it updates other parameters; make it with model.make_optimizer"):
        training(model, other.make_optimizer("sgd", backend="cuda"), *data(model, LOSSES[0]))


def test_numpy_parameters_are_still_refused():
    with pytest.raises(TypeError, match="on the GPU"):
        Optimizer(MLP((4, 3)).parameters, "sgd", backend="cuda")


@pytest.fixture
def table(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 2)).round(3)
    lines = [f"{a},{b},{int(a > b)}" for a, b in rows]
    path = tmp_path / "table.csv"
    path.write_text("a,b,class\n" + "\n".join(lines) + "\n")
    return path


def test_the_command_line_trains_and_resumes_to_the_same_bits(table, tmp_path, capsys):
    from fastopt.runs.saved_run import load_model

    def train(*words):
        assert main(["train", "--quiet", *map(str, words)]) == 0

    options = (
        "--data",
        table,
        "--target",
        "class",
        "--hidden",
        4,
        "--batch-size",
        6,
        "--backend",
        "cuda",
        "--test-fraction",
        0.3,
    )
    train(*options, "--epochs", 3, "--out", tmp_path / "whole")
    train(*options, "--epochs", 2, "--out", tmp_path / "part")
    train("--resume", tmp_path / "part", "--epochs", 3)
    models = [load_model(tmp_path / name).checkpoint for name in ("whole", "part")]
    assert bits(models[0].model.parameters) == bits(models[1].model.parameters)
    assert bits(*models[0].optimizer["state"].values()) == bits(*models[1].optimizer["state"].values())
    assert models[0].optimizer["state"]["exp_avg"].any()


class CuBLAS:
    """What the library does with the addresses that it is given: matrices lie column by column."""

    def __init__(self, real):
        self.real = real
        self.cublasSgemm_v2 = self.cublasDgemm_v2 = self.gemm
        self.called = []

    def gemm(self, handle, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        left, right = self.matrix(a, lda, m if trans_a else k), self.matrix(b, ldb, k if trans_b else n)
        left, right = (left.T if trans_a else left), (right.T if trans_b else right)
        assert (self.matrix(alpha, 1, 1)[0, 0], self.matrix(beta, 1, 1)[0, 0]) == (1, 0)
        self.matrix(c, ldc, n)[:m] = left[:m, :k] @ right[:k, :n]
        return 0

    def matrix(self, address, lead, columns):
        values = ctypes.cast(address, ctypes.POINTER(self.real))
        return np.ctypeslib.as_array(values, (columns, lead)).T

    def __getattr__(self, name):
        return lambda *arguments: self.called.append(name) or 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("transpose_a", "transpose_b"), [(False, False), (True, False), (False, True)])
def test_matrices_are_handed_to_cublas_as_it_expects_them(transpose_a, transpose_b, dtype, monkeypatch):
    cublas = CuBLAS(ctypes.c_float if dtype == "float32" else ctypes.c_double)
    monkeypatch.setattr(products, "library", lambda: cublas)
    monkeypatch.setattr(products, "WORKSPACE_BYTES", 64)
    multiply = products.Products(np.dtype(dtype), 2)
    # A new stream takes the workspace back.
    assert cublas.called == ["cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"]
    rng, (rows, columns, depth) = np.random.default_rng(0), (3, 4, 5)
    a, b = rng.normal(size=(rows, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    arrays = [np.ascontiguousarray(a.T if transpose_a else a), np.ascontiguousarray(b.T if transpose_b else b)]
    held = [DeviceBuffer(shim.empty(n, np.dtype(dtype))).array for n in (rows * columns, rows * depth, depth * columns)]
    for array, values in zip(held[1:], arrays, strict=True):
        array.copy_to_device(values.reshape(-1))
    multiply(*held, (rows, columns, depth), transpose_a=transpose_a, transpose_b=transpose_b)
    np.testing.assert_allclose(held[0].copy_to_host().reshape(rows, columns), a @ b, rtol=1e-6)


def test_a_failing_product_is_an_error(monkeypatch):
    class Failing(CuBLAS):
        def gemm(self, *arguments):
            return 13

    monkeypatch.setattr(products, "library", lambda: Failing(ctypes.c_float))
    multiply = products.Products(np.dtype("float32"), 2)
    array = shim.empty(1, np.dtype("float32"))
    with pytest.raises(RuntimeError, match="status 13, the GPU failed"):
        multiply(array, array, array, (1, 1, 1))


def test_a_trainer_that_nobody_holds_is_gone_at_once_and_with_it_its_memory():
    model = MLP((4, 6, 3), seed=4)
    x, y = data(model, LOSSES[0], rows=9)
    run = training(model, model.make_optimizer("sgd", backend="cuda"), x, y, batch_size=3, epochs=1)
    list(run.run())
    gc.disable()
    try:
        trainer = weakref.ref(run._program._trainer)
        assert trainer()._graphs
        del run
        assert trainer() is None
    finally:
        gc.enable()
