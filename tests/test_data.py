"""Datasets in use: parts, batches, checks, order, splitting and standardising."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt.data
from fastopt.data import (
    Dataset,
    Standardiser,
    align_classes,
    check_classes,
    check_dataset,
    digits,
    from_arrays,
    load,
    permutation,
    split,
    with_replacement,
)


def labelled(labels: list[str], classes: tuple[str, ...]) -> Dataset:
    targets = np.array([classes.index(label) for label in labels], dtype=np.int64)
    return Dataset(np.arange(2.0 * len(labels)).reshape(-1, 2), targets, classes, "toy", "built in")


def on_disk(folder: Path, inputs: np.ndarray[Any, Any]) -> Dataset:
    np.save(folder / "x.npy", inputs)
    np.save(folder / "y.npy", np.arange(len(inputs)) % 3)
    return load(folder / "x.npy")[0]


def test_all_is_sorted_and_exported() -> None:
    assert fastopt.data.__all__ == sorted(fastopt.data.__all__)
    assert all(hasattr(fastopt.data, name) for name in fastopt.data.__all__)


# --- Dataset ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "?", "i8", ">f4", "f2", "f8"])
@pytest.mark.parametrize("out_dtype", ["f4", "f8"])
def test_gather_converts_rows_into_out(tmp_path: Path, dtype: str, out_dtype: str) -> None:
    inputs = np.arange(30).reshape(10, 3).astype(dtype)
    for data in (from_arrays(inputs, np.arange(10)), on_disk(tmp_path, inputs)):
        part = data.take([7, 1, 1, 4]).take([3, 0])
        out = np.full((3, 3), np.nan, out_dtype)
        assert part.gather([1, 0, 1], out) is out
        np.testing.assert_array_equal(out, inputs[[7, 4, 7]].astype(out_dtype))
        np.testing.assert_array_equal(part.targets, data.targets[[4, 7]])
        assert (len(part), part.features, part.classes) == (2, 3, data.classes)


def test_a_part_of_a_memory_map_keeps_the_map_and_reads_a_batch(tmp_path: Path) -> None:
    inputs = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(40_000, 512))
    inputs[39_999] = 5
    del inputs
    np.save(tmp_path / "y.npy", np.arange(40_000) % 2)
    tracemalloc.start()
    data, _ = load(tmp_path / "x.npy")
    train, test = split(data, 0.25)
    part = data.take(np.arange(39_990, 40_000))
    out = part.gather(np.arange(10), np.empty((10, 512), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.inputs.nbytes / 10
    assert all(isinstance(each.inputs, np.memmap) and each.inputs is data.inputs for each in (train, test, part))
    assert (len(train), len(test)) == (30_000, 10_000)
    assert out[9].tolist() == [5.0] * 512
    assert not out[:9].any()


def test_take_of_arrays_copies() -> None:
    data = labelled(list("abab"), ("a", "b"))
    part = data.take(np.array([2, 0], dtype=np.uint8))
    assert part.rows is None
    assert not np.shares_memory(part.inputs, data.inputs)
    assert part.inputs.tolist() == [[4, 5], [0, 1]]
    assert len(data.take([])) == 0


def test_gather_of_a_value_too_large_is_infinite_without_a_warning() -> None:
    data = from_arrays([[1e300, -1e300, 1.0]], [0.5])
    assert data.gather([0], np.empty((1, 3), np.float32)).tolist() == [[np.inf, -np.inf, 1.0]]
    assert data.gather([0], np.empty((1, 3))).tolist() == [[1e300, -1e300, 1.0]]


def test_names_of_columns_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y,b\n" + "1,no,2\n3,yes,4\n" * 3)
    data, _ = load(path, target="y")
    train, test = split(data, 0.4)
    for each in (data, data.take([1]), train, test, align_classes(data, ("maybe", "yes", "no"))):
        assert each.columns == ("a", "b")
    assert digits().columns is None


def test_gather_and_take_say_what_is_wrong() -> None:
    data = labelled(list("abab"), ("a", "b"))
    with pytest.raises(IndexError, match="from 0 to 4, expected 0 to 3"):
        data.take([0, 4])
    with pytest.raises(IndexError, match="from -1 to 0"):
        data.take([0, -1])
    with pytest.raises(TypeError, match=r"np\.flatnonzero"):
        data.take(data.targets == 1)
    with pytest.raises(ValueError, match=r"got shape \(1, 2\), expected \(2, 2\)"):
        data.gather([0, 1], np.empty((1, 2)))
    with pytest.raises(TypeError, match="got dtype int64, expected floats"):
        data.gather([0], np.empty((1, 2), np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_placed(tmp_path: Path, bad: float) -> None:
    inputs = np.zeros((5000, 100), np.float32)
    inputs[4000, 7] = inputs[4900, 3] = bad
    for data in (from_arrays(inputs, np.arange(5000) % 3), on_disk(tmp_path, inputs)):
        with pytest.raises(ValueError, match=f"got 2 input values NaN or infinite, first {bad} in row 4000, column 7"):
            check_dataset(data)
        with pytest.raises(ValueError, match=f"got 1 input value NaN or infinite, first {bad} in row 1, column 7"):
            check_dataset(data.take([0, 4000]))
    with pytest.raises(ValueError, match=f"got 1 target value NaN or infinite, first {bad} in row 1, column 0"):
        check_dataset(from_arrays(np.zeros((2, 1)), [0.0, bad]))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"targets": np.array([0, 2])}, ValueError, "class indices from 0 to 2, expected 0 to 1 for 2 classes"),
        ({"targets": np.array([0, -1])}, ValueError, "class indices from -1 to 0"),
        ({"targets": np.array([0, 1], np.int32)}, TypeError, "targets of dtype int32"),
        ({"classes": None}, TypeError, "no classes, expected float32 or float64 of shape (rows, outputs)"),
        ({"targets": np.array([0])}, ValueError, "2 rows of inputs and 1 targets"),
        ({"inputs": np.zeros((2, 1, 1))}, ValueError, "expected (rows, features)"),
        ({"columns": ("a", "b")}, ValueError, "got 2 names of columns, expected 1, one for each feature"),
        ({"rows": np.array([0, 2])}, ValueError, "got rows from 0 to 2, expected 0 to 1"),
    ],
)
def test_datasets_that_do_not_fit(change: dict[str, Any], error: type[Exception], words: str) -> None:
    fields = {"inputs": np.zeros((2, 1)), "targets": np.array([0, 1]), "classes": ("a", "b")}
    with pytest.raises(error, match=re.escape(words)):
        check_dataset(Dataset(**{**fields, **change}, name="toy", source="built in"))


# --- classes ----------------------------------------------------------------------------------------------------------


def test_align_classes_renumbers() -> None:
    data = labelled(["b", "c", "b"], ("a", "b", "c"))
    aligned = align_classes(data, ("z", "c", "b"))
    assert aligned.targets.tolist() == [2, 1, 2]
    assert aligned.targets.dtype == np.int64
    assert aligned.classes == ("z", "c", "b")
    regression = from_arrays(np.zeros((2, 1)), [0.5, 1.5])
    assert align_classes(regression, None) is regression


def test_align_classes_refuses_what_training_never_saw() -> None:
    with pytest.raises(ValueError, match="got the label 'c', expected only labels seen in training: 'a', 'b'"):
        align_classes(labelled(["a", "c"], ("a", "c")), ("a", "b"))
    with pytest.raises(ValueError, match="targets for classification, expected targets for regression"):
        align_classes(labelled(["a"], ("a",)), None)


def test_check_classes_names_those_without_a_training_row() -> None:
    check_classes(labelled(["a", "b"], ("a", "b")), labelled(["b"], ("b",)))
    check_classes(from_arrays(np.zeros((2, 1)), [0.5, 1.5]))
    with pytest.raises(ValueError, match="no training row of class 'b', 'd'"):
        check_classes(labelled(["a", "c"], ("a", "b", "c", "d")))
    with pytest.raises(ValueError, match="got the label 'e'"):
        check_classes(labelled(["a"], ("a",)), labelled(["e"], ("e",)))


# --- order ------------------------------------------------------------------------------------------------------------


def test_order_is_pinned() -> None:
    assert permutation(8, seed=0, stream=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert permutation(10, seed=7, stream=3).tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]
    assert with_replacement(10, 8, seed=7, stream=3).tolist() == [4, 7, 0, 3, 6, 1, 5, 3]
    assert with_replacement(1000, 5, seed=0, stream=1).tolist() == [813, 751, 671, 483, 705]


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutation_has_each_index_once(n: int) -> None:
    order = permutation(n, seed=2**64 - 1, stream=5)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_seed_and_stream_both_matter() -> None:
    orders = {tuple(permutation(50, seed=seed, stream=stream)) for seed in range(3) for stream in range(3)}
    assert len(orders) == 9


def test_with_replacement_is_uniform_and_in_range() -> None:
    drawn = with_replacement(7, 70_000, seed=1, stream=2)
    counts = np.bincount(drawn, minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 10_000).max() < 500
    assert with_replacement(2**32 - 1, 1000, seed=1, stream=2).max() < 2**32 - 1
    assert not with_replacement(1, 5, seed=1, stream=2).any()


def test_order_refuses_what_makes_no_key() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=r"seed: got .*, expected an integer in \[0, 2\*\*64\)"):
            permutation(3, seed=seed, stream=0)
    with pytest.raises(ValueError, match="stream: got -1"):
        permutation(3, seed=0, stream=-1)
    with pytest.raises(ValueError, match="got -1 draws"):
        permutation(-1, seed=0, stream=0)
    for n in (0, 2**32):
        with pytest.raises(ValueError, match=f"n: got {n}, expected at least 1 and less than"):
            with_replacement(n, 3, seed=0, stream=0)


# --- split ------------------------------------------------------------------------------------------------------------


def test_split_is_stratified_disjoint_and_pinned() -> None:
    data = digits()
    train, test = split(data, 0.2, seed=0)
    assert (len(train), len(test)) == (1438, 359)
    assert np.abs(np.bincount(test.targets) - 0.2 * np.bincount(data.targets)).max() < 1
    assert test.targets[:20].tolist() == [7, 9, 7, 9, 4, 5, 7, 5, 5, 7, 0, 2, 2, 3, 6, 0, 4, 1, 3, 1]
    again = split(data, 0.2, seed=0)[1]
    np.testing.assert_array_equal(test.inputs, again.inputs)
    assert split(data, 0.2, seed=1)[1].targets[:20].tolist() != test.targets[:20].tolist()
    both = np.concatenate([train.inputs, test.inputs])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(data.inputs, axis=0))


def test_split_parts_have_no_row_in_common() -> None:
    data = from_arrays(np.arange(50).reshape(-1, 1), np.linspace(0, 1, 50))
    train, test = split(data, 0.3)
    assert (len(train), len(test)) == (35, 15)
    assert sorted(train.inputs.ravel().tolist() + test.inputs.ravel().tolist()) == list(range(50))
    assert np.all(np.diff(test.inputs.ravel()) > 0)


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([10, 10], 0.5, [5, 5]),
        ([3, 3, 4], 0.2, [1, 1, 1]),  # one row each comes before round(10 · 0.2)
        ([2, 2], 0.9, [1, 1]),
        ([100, 2], 0.01, [1, 1]),
        ([100, 2], 0.99, [99, 1]),
        ([7, 7, 7], 0.5, [4, 3, 3]),
        ([100, 5], 0.3, [30, 2]),
        ([1000, 2, 2], 0.1, [98, 1, 1]),  # the total stays round(1004 · 0.1)
    ],
)
def test_split_shares(counts: list[int], fraction: float, expected: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = split(from_arrays(np.zeros((len(labels), 1)), labels), fraction)
    assert np.bincount(test.targets).tolist() == expected
    assert np.bincount(train.targets).tolist() == [a - b for a, b in zip(counts, expected, strict=True)]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2, float("nan")])
def test_split_refuses_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"test_fraction: got .*, expected a number between 0 and 1"):
        split(digits(), fraction)


def test_split_refuses_too_few_rows() -> None:
    with pytest.raises(ValueError, match=r"too few rows of class 'b' \(1\), 'c' \(0\), expected at least 2"):
        split(labelled(["a", "a", "b"], ("a", "b", "c")))
    with pytest.raises(ValueError, match=r"quantities, not classes, load them with regression=True \(--regression\)"):
        split(from_arrays(np.zeros((3, 1)), [1, 2, 3]))
    assert len(split(from_arrays(np.zeros((3, 1)), [1, 2, 3], regression=True), 0.4)[1]) == 1
    with pytest.raises(ValueError, match="got 1 rows, expected at least 2 to split"):
        split(from_arrays([[1.0]], [0.5]))


# --- standardise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_standardiser_has_the_mean_and_deviation(tmp_path: Path, dtype: Any) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (5000, 100)).astype(dtype)
    for data in (from_arrays(inputs, np.arange(5000) % 3), on_disk(tmp_path, inputs)):
        fitted = Standardiser.fit(data)
        np.testing.assert_allclose(fitted.mean, inputs.mean(axis=0, dtype=np.float64), rtol=1e-13)
        np.testing.assert_allclose(fitted.scale, inputs.std(axis=0, dtype=np.float64), rtol=1e-13)
        part = Standardiser.fit(data.take(np.arange(10)))
        np.testing.assert_allclose(part.mean, inputs[:10].mean(axis=0, dtype=np.float64), rtol=1e-13)


def test_standardiser_keeps_its_accuracy_with_a_large_mean() -> None:
    noise = np.random.default_rng(1).integers(-8, 9, (300_000, 2)) / 8.0
    fitted = Standardiser.fit(from_arrays(noise + 2.0**33, np.arange(300_000) % 2))
    np.testing.assert_allclose(fitted.scale, noise.std(axis=0), rtol=1e-9)


def test_constant_features_have_scale_one() -> None:
    inputs = np.full((300_000, 3), 0.1)
    inputs[:, 1] = [0.1 * (i % 2) for i in range(300_000)]
    inputs[::2, 2] = 5e-324  # its square is zero: no deviation can be had
    inputs[1::2, 2] = 0
    fitted = Standardiser.fit(from_arrays(inputs, np.arange(300_000) % 2))
    assert fitted.mean[0] == 0.1
    assert fitted.scale[[0, 2]].tolist() == [1, 1]
    assert fitted.scale[1] == pytest.approx(0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_apply_returns_a_copy_of_the_same_dtype_computed_in_float64(dtype: Any) -> None:
    fitted = Standardiser.fit(digits())
    batch = digits().gather(np.arange(50), np.empty((50, 64), dtype))
    before = batch.copy()
    applied = fitted.apply(batch)
    assert applied.dtype == dtype
    np.testing.assert_array_equal(applied, ((before - fitted.mean) / fitted.scale).astype(dtype))
    np.testing.assert_array_equal(batch, before)
    unchanged = Standardiser(np.zeros(64), np.ones(64)).apply(batch)
    np.testing.assert_array_equal(unchanged, batch)
    assert not np.shares_memory(unchanged, batch)


def test_standardiser_says_what_is_wrong() -> None:
    data = from_arrays([[1.0, np.nan], [2.0, 3.0]], [0, 1])
    with pytest.raises(ValueError, match=r"for feature 1 \(counted from 0\), expected finite numbers"):
        Standardiser.fit(data)
    with pytest.raises(ValueError, match=r"for feature 0 .* huge values"):
        Standardiser.fit(from_arrays([[1e300], [-1e300]], [0, 1]))
    with pytest.raises(ValueError, match="got no rows"):
        Standardiser.fit(digits().take([]))
    with pytest.raises(TypeError, match="got dtype int64, expected floats"):
        Standardiser(np.zeros(2), np.ones(2)).apply(np.zeros((1, 2), np.int64))
    with pytest.raises(ValueError, match=r"got shape \(1, 3\), expected \(rows, 2\)"):
        Standardiser(np.zeros(2), np.ones(2)).apply(np.zeros((1, 3)))
