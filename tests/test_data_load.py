"""Loading: every format, and what is said when a file is not what it should be."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.data import check_dataset, digits, from_arrays, load, split

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([5, 3, 5, 10])


def idx(values: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def save_idx(folder: Path, part: str, *, labels: Any = (3, 7, 3), zipped: bool = False) -> Path:
    images = np.arange(len(labels) * 4).reshape(len(labels), 2, 2)
    suffix = ".gz" if zipped else ""
    paths = folder / f"{part}-images-idx3-ubyte{suffix}", folder / f"{part}-labels-idx1-ubyte{suffix}"
    for path, values in zip(paths, (images, np.array(labels)), strict=True):
        path.write_bytes(gzip.compress(idx(values)) if zipped else idx(values))
    return paths[0]


# --- built in ---------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_uci() -> None:
    data, test = load()
    assert test is None
    assert data.inputs.shape == (1797, 64)
    assert data.inputs.dtype == np.uint8
    assert (data.inputs.min(), data.inputs.max()) == (0, 16)
    assert np.bincount(data.targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (data.classes, data.name, data.source) == (tuple("0123456789"), "digits", "built in")
    assert check_dataset(data) is data


def test_digits_equal_the_copy_in_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the copy to compare with")
    theirs = datasets.load_digits()
    np.testing.assert_array_equal(digits().inputs, theirs.data)
    np.testing.assert_array_equal(digits().targets, theirs.target)


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", ["x", "X", "inputs", "images", "data"])
@pytest.mark.parametrize("targets", ["y", "targets", "labels", "target"])
def test_npz_takes_the_usual_names(tmp_path: Path, inputs: str, targets: str) -> None:
    arrays: dict[str, Any] = {inputs: X, targets: Y}
    np.savez(tmp_path / "toy.npz", **arrays)
    data, test = load(tmp_path / "toy.npz")
    assert test is None
    np.testing.assert_array_equal(data.inputs, X)
    assert data.targets.dtype == np.int64
    assert data.targets.tolist() == [1, 0, 1, 2]
    assert data.classes == ("3", "5", "10")
    assert (data.name, data.source) == ("toy", str(tmp_path / "toy.npz"))


def test_npz_with_a_test_part_numbers_its_classes_as_in_training(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", x_train=X.reshape(4, 3, 1), y_train=Y, x_test=X[:2], y_test=np.array([10, 3]))
    data, test = load(tmp_path / "k.npz")
    assert test is not None
    assert data.inputs.shape == (4, 3)
    assert test.classes == data.classes == ("3", "5", "10")
    assert test.targets.tolist() == [2, 0]
    assert (data.name, test.name) == ("k", "k-test")


def test_npz_with_a_test_part_next_to_all_the_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", x=X, y=Y, x_test=X[:2], y_test=np.array([10, 3]))
    data, test = load(tmp_path / "k.npz")
    assert test is not None
    assert (len(data), test.targets.tolist()) == (4, [2, 0])


def test_npz_with_a_training_part_alone_has_no_test_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", x_train=X, y_train=Y)
    assert load(tmp_path / "k.npz")[1] is None


@pytest.mark.parametrize(
    ("test_part", "words"),
    [
        (
            {"x_test": X, "y_test": Y + 1},
            "labels '4', '6', '11', expected only labels seen in training: '3', '5', '10'",
        ),
        ({"x_test": X[:, :2], "y_test": Y}, "got 2 features, expected 3 as in the training part"),
        ({"x_test": X, "y_test": Y * 0.5}, "got targets for regression, expected targets for classification"),
        ({"y_test": Y}, "found the arrays x_train, y_train, y_test, expected inputs named x_test"),
    ],
)
def test_npz_test_part_that_does_not_fit(tmp_path: Path, test_part: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "k.npz", x_train=X, y_train=Y, **test_part)
    with pytest.raises(ValueError, match=re.escape(words)):
        load(tmp_path / "k.npz")


def test_regression_test_part_of_another_width(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", x_train=X, y_train=Y * 0.5, x_test=X, y_test=np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"shape \(4, 2\), training has \(4, 1\)"):
        load(tmp_path / "k.npz")


def test_npz_without_known_names_lists_those_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=X, y=Y)
    with pytest.raises(ValueError, match="found the arrays features, y, expected inputs named x or X or inputs"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=X, answer=Y)
    with pytest.raises(ValueError, match="found the arrays x, answer, expected targets named y"):
        load(tmp_path / "b.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([1, "a", None, 2], dtype=object)
    np.savez(tmp_path / "o.npz", x=X, y=objects)
    np.save(tmp_path / "o.npy", objects)
    for path in (tmp_path / "o.npz", f"{tmp_path}/o.npy,{tmp_path}/o.npy"):
        with pytest.raises(TypeError, match="Python objects, expected numbers"):
            load(path)
    with pytest.raises(TypeError, match="dtype object"):
        from_arrays(objects.reshape(2, 2), [0, 1])


def test_damaged_archives(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", x=np.arange(4000.0).reshape(40, 100), y=np.arange(40))
    whole = (tmp_path / "whole.npz").read_bytes()
    garbled = whole[:200] + bytes(200) + whole[400:]
    for content in (whole[:500], garbled, b"", b"hello"):
        (tmp_path / "d.npz").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"NumPy cannot read|a file that starts with b'(hello)?', expected an \.npz"
        ):
            load(tmp_path / "d.npz")


def test_an_archive_is_read_as_far_as_its_headers_say(tmp_path: Path) -> None:
    def save(shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("x.npy", "y.npy"):
                archive.writestr(name, header.getvalue() + bytes(1 << 25))

    save((4, 2))
    tracemalloc.start()
    data, _ = load(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.inputs.shape == (4, 2)
    assert peak < 1 << 22
    save((1 << 30, 1 << 30))
    with pytest.raises(ValueError, match=r"a\.npz: [xy]: got data that NumPy cannot read"):
        load(tmp_path / "a.npz")


def test_npy_and_npz_under_each_others_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"got an \.npy array in content, expected an \.npz archive; rename"):
        load(tmp_path / "x.npz")
    np.savez(tmp_path / "z.npz", x=X, y=Y)
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    with pytest.raises(ValueError, match=r"got an \.npz archive in content, expected an \.npy array; rename"):
        load(f"{tmp_path}/z.npy,{tmp_path}/z.npy")


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ("a.npy", "a_targets.npy"),
        ("a.npy", "a_labels.npy"),
        ("a.npy", "a_y.npy"),
        ("x_big.npy", "y_big.npy"),
        ("X.npy", "y.npy"),
        ("X.npy", "Y.npy"),
    ],
)
def test_npy_finds_its_targets_and_stays_on_disk(tmp_path: Path, inputs: str, targets: str) -> None:
    np.save(tmp_path / inputs, X)
    np.save(tmp_path / targets, Y)
    data, test = load(tmp_path / inputs)
    assert test is None
    assert isinstance(data.inputs, np.memmap)
    assert not data.inputs.flags.writeable
    assert data.targets.tolist() == [1, 0, 1, 2]
    assert data.name == inputs.removesuffix(".npy")


def test_npy_pair_by_name_and_images_stay_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    np.save(tmp_path / "other.npy", np.linspace(0, 1, 8, dtype=">f8").reshape(4, 2))
    source = f"{tmp_path}/images.npy,{tmp_path}/other.npy"
    data, _ = load(source)
    assert isinstance(data.inputs, np.memmap)
    assert data.inputs.shape == (4, 12)
    assert data.classes is None
    assert (data.targets.shape, data.targets.dtype) == ((4, 2), np.dtype(np.float64))
    assert data.source == source


def test_npy_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "cube.npy", np.asfortranarray(np.zeros((4, 3, 2))))
    np.save(tmp_path / "t.npy", Y)
    with pytest.raises(FileNotFoundError, match=r"no targets next to it, expected x_targets\.npy or .* or y\.npy"):
        load(tmp_path / "x.npy")
    with pytest.raises(FileNotFoundError, match=r"gone\.npy: no such file"):
        load(f"{tmp_path}/x.npy,{tmp_path}/gone.npy")
    with pytest.raises(ValueError, match=r"expected two \.npy files: inputs,targets"):
        load("a.csv,b.csv")
    with pytest.raises(ValueError, match="Fortran order"):
        load(f"{tmp_path}/cube.npy,{tmp_path}/t.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-4])
    with pytest.raises(ValueError, match="NumPy cannot read"):
        load(f"{tmp_path}/x.npy,{tmp_path}/t.npy")


@pytest.mark.parametrize(
    ("targets", "classes", "values"),
    [
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([-1, 1, -1], ("-1", "1"), [0, 1, 0]),
        ([[9], [10], [9]], ("9", "10"), [0, 1, 0]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([1.0, 2.0, 3.5], None, [[1.0], [2.0], [3.5]]),
        (np.array([1, 2, 3], np.float16), None, [[1.0], [2.0], [3.0]]),
        (np.array([[1, 2], [3, 4], [5, 6]], np.float32), None, [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_targets_are_labels_or_quantities_by_their_dtype(targets: Any, classes: Any, values: Any) -> None:
    data = from_arrays(X[:3], targets)
    assert data.classes == classes
    assert data.targets.tolist() == values
    assert check_dataset(data).targets.dtype == (np.int64 if classes else data.targets.dtype)


@pytest.mark.parametrize(
    ("targets", "values"),
    [
        ([7, 3, 7], [[7.0], [3.0], [7.0]]),
        ([[7], [3], [7]], [[7.0], [3.0], [7.0]]),
        ([True, False, True], [[1.0], [0.0], [1.0]]),
        (np.array([[1, 0], [0, 1], [1, 0]], np.uint8), [[1, 0], [0, 1], [1, 0]]),
        (np.array([1.5, 2, 3], np.float32), [[1.5], [2.0], [3.0]]),
    ],
)
def test_regression_reads_any_numbers_as_quantities(targets: Any, values: Any) -> None:
    data = check_dataset(from_arrays(X[:3], targets, regression=True))
    assert data.classes is None
    assert data.targets.tolist() == values
    assert data.targets.dtype == (np.float32 if np.asarray(targets).dtype == np.float32 else np.float64)


def test_regression_refuses_text_and_cubes() -> None:
    with pytest.raises(TypeError, match=r"dtype <U1, expected numbers to read as quantities; for labels, leave out"):
        from_arrays(X, list("abab"), regression=True)
    with pytest.raises(ValueError, match=r"expected \(rows,\) or \(rows, outputs\)"):
        from_arrays(X, np.zeros((4, 1, 1), int), regression=True)


def test_load_with_regression(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X, y_test=Y + 1)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    save_idx(tmp_path, "train", labels=(5, 3, 5, 10))
    write(tmp_path / "t.csv", "a,y\n1,5\n2,3\n3,5.0\n4,1e1\n")
    images = tmp_path / "train-images-idx3-ubyte"
    for path in (tmp_path / "a.npz", tmp_path / "x.npy", f"{tmp_path}/x.npy,{tmp_path}/y.npy", tmp_path, images):
        data, test = load(path, regression=True)
        assert data.classes is None
        assert (data.targets.dtype, data.targets.tolist()) == (np.float64, [[5], [3], [5], [10]])
        assert test is None or test.targets.tolist() == [[6], [4], [6], [11]]
    assert load(tmp_path / "t.csv", target="y")[0].classes == ("3", "5", "10")
    data, _ = load(tmp_path / "t.csv", target="y", regression=True)
    assert (data.classes, data.targets.tolist()) == (None, [[5], [3], [5], [10]])
    assert data.columns == ("a",)
    with pytest.raises(ValueError, match=r"row 2 .* column 'y': got 'b' among numbers, .* leave out regression"):
        load(write(tmp_path / "t.csv", "a,y\n1,5\n2,b\n"), target="y", regression=True)
    data, _ = load(regression=True)
    assert (data.name, data.source, data.targets[:3].tolist()) == ("digits", "built in", [[0], [1], [2]])


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "words"),
    [
        (X, Y[:3], ValueError, "4 rows of inputs and 3 targets, expected one target for each row"),
        (X[:0], Y[:0], ValueError, "got no data: 0 rows of 3 features"),
        (X[:, :0], Y, ValueError, "got no data: 4 rows of 0 features"),
        (X[:, 0], Y, ValueError, "reshape(-1, 1)"),
        (X, np.eye(4, dtype=int), ValueError, "for one-hot rows, pass targets.argmax(axis=1)"),
        (X, np.zeros((4, 0)), ValueError, "expected at least one output"),
        (X, np.zeros((4, 1, 1)), ValueError, "expected (rows,) or (rows, outputs)"),
        (X, Y * 1j, TypeError, "expected labels (integers, booleans or strings) or quantities (floats)"),
        (X * 1j, Y, TypeError, "got inputs of dtype complex64, expected real numbers"),
        ([["a"]], [0], TypeError, "got inputs of dtype <U1"),
    ],
)
def test_arrays_that_do_not_fit(inputs: Any, targets: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        from_arrays(inputs, targets)


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_with_text_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "iris.csv", 'len,kind,"wid,th"\n1,b,2.5\n\n-3e1,"a, c",4\n5,b, 6\n')
    data, test = load(path, target="kind")
    assert test is None
    assert data.inputs.tolist() == [[1, 2.5], [-30, 4], [5, 6]]
    assert data.classes == ("a, c", "b")
    assert data.targets.tolist() == [1, 0, 1]
    assert data.name == "iris"


def test_csv_gzipped_with_a_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    text = "\ufeffa,y\r\n1,10\r\n2,9\r\n3,10.0\r\n"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    data, _ = load(tmp_path / "t.csv.gz", target="y")
    assert data.inputs.tolist() == [[1], [2], [3]]
    assert data.classes == ("9", "10")
    assert data.targets.tolist() == [1, 0, 1]
    assert data.name == "t"
    assert load(tmp_path / "t.csv.gz", target="a")[0].classes == ("1", "2", "3")


def test_csv_target_with_fractions_is_regression(tmp_path: Path) -> None:
    data, _ = load(write(tmp_path / "t.csv", "a,y\n1,10\n2,2.5\n3,10\n"), target="y")
    assert data.classes is None
    assert data.targets.tolist() == [[10], [2.5], [10]]


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("a,y\n1,2\n", None, "got no target, expected the column to predict, one of 'a', 'y'"),
        ("price,y\n1,2\n", "prize", "unknown target column of t.csv 'prize': did you mean 'price'? known are price, y"),
        ("a,y,y\n1,2,3\n", "y", "got 2 columns named 'y'"),
        ("1,2\n3,4\n", "y", "only numbers in the first row, expected a header row"),
        ("a;y\n1;2\n", "y", "got the header 'a;y', expected at least two columns"),
        ("", "y", "got an empty first row, expected a header row"),
        ("a,y\n\n", "y", "got a header and no rows"),
        ("a,b,y\n1,2,3\n4,oops,6\n", "y", "row 2 (the header not counted), column 'b': got 'oops', expected a finite"),
        ("a,b,y\n1,,3\n", "y", "row 1 (the header not counted), column 'b': the value is missing"),
        ("a,b,y\n1,2,3\n1,nan,3\n", "y", "row 2 (the header not counted), column 'b': got 'nan'"),
        ("a,b,y\n1,2,3\n1,-inf,3\n", "y", "column 'b': got '-inf'"),
        ("a,b,y\n1,1_0,3\n", "y", "column 'b': got '1_0'"),
        ("a,b,y\n1,2,3\n1,2, \n", "y", "row 2 (the header not counted), column 'y': the value is missing"),
        ("a,b,y\n1,2,3\n\n1,2\n", "y", "row 2 (the header not counted): got 2 cells, expected 3"),
        ("a,b,y\n1,2,3,4\n1,2,3,4\n", "y", "row 1 (the header not counted): got 4 cells, expected 3"),
        ("a,y\n1,2.5\n2,none\n", "y", "row 2 (the header not counted), column 'y': got 'none' among numbers"),
        ("a,y\n1,2\n2,nan\n", "y", "row 2 (the header not counted), column 'y': got 'nan' among numbers"),
    ],
)
def test_csv_errors(tmp_path: Path, text: str, target: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        load(write(tmp_path / "t.csv", text), target=target)


def test_csv_label_of_several_lines(tmp_path: Path) -> None:
    data, _ = load(write(tmp_path / "t.csv", 'a,"the\nkind"\n1,"b\n\nc"\n2,d\n'), target="the\nkind")
    assert data.inputs.tolist() == [[1], [2]]
    assert data.classes == ("b\n\nc", "d")
    assert data.columns == ("a",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'a,y\n1,b\n2,"c\n3,b\n4,c\n',
            "row 2 (the header not counted): got text that is not CSV (unexpected end of data)",
        ),
        (
            'a,y\n1,b\n2,"c\n3,b\n4,"c"\n',
            "row 2 (the header not counted): got text that is not CSV (',' expected after",
        ),
        ('a,y\n1,b\n"2,c\n3,b\n', "row 2 (the header not counted): got text that is not CSV (unexpected end of data)"),
        ('a,"y\n1,b\n2,c\n', "got a header that is not CSV (unexpected end of data); is a quote not closed?"),
        ('a,y\n"1\n2",b\n', "row 1 (the header not counted), column 'a': got '1\\n2', expected a finite number"),
        (
            'a,y\n1,b\n2,"' + "c\n" * 70_000,
            "got text that is not CSV (field larger than field limit (131072)); is a quote",
        ),
    ],
)
def test_csv_quotes_that_swallow_lines(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        load(write(tmp_path / "t.csv", text), target="y")


def test_csv_lenient_quotes(tmp_path: Path) -> None:
    data, _ = load(write(tmp_path / "t.csv", '"a" ,y\n"1" ,b"c\n2,"d"\n'), target="y")
    assert (data.columns, data.inputs.tolist(), data.classes) == (("a",), [[1], [2]], ('b"c', "d"))


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("a,y\n1,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        load(tmp_path / "latin.csv", target="y")
    (tmp_path / "late.csv").write_bytes(b"a,y\n" + b"1,2\n" * 10000 + b"1,\xe9\n")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        load(tmp_path / "late.csv", target="y")
    numbers = np.random.default_rng(0).integers(0, 10**9, 1000)
    whole = gzip.compress(b"a,y\n" + b"".join([b"%d,1\n" % number for number in numbers]))
    for content in (b"a,y\n1,2\n", whole[: len(whole) // 2], whole[:-8] + bytes(8)):
        (tmp_path / "t.csv.gz").write_bytes(content)
        with pytest.raises(ValueError, match="gzip data that is damaged"):
            load(tmp_path / "t.csv.gz", target="y")


LONG = {
    "no line ends": b"a,y\n" + b"1," * (1 << 20),
    "a quote that is not closed": b'a,y\n1,2\n1,"' + (b"1,2" * 1000 + b"\n") * 700,
    "a header without an end": b"a," * (1 << 20),
    "a cell without an end": b"a,y\n" + b"1" * (2 << 20) + b",2\n",
}


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("case", LONG)
def test_a_csv_row_without_an_end_is_refused_before_it_is_read(
    case: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastopt.data.csv_cells._LONGEST_ROW", 1 << 16)
    path = tmp_path / name
    path.write_bytes(gzip.compress(LONG[case], 1) if name.endswith(".gz") else LONG[case])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"got a row of more than 65,536 characters") as caught:
            load(path, target="y")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # the files have two
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 300


def test_csv_quotes_within_cells_open_none(tmp_path: Path) -> None:
    rows = ['1,5",2', '2,"3"" x, ""y""",4', '3,"two\nlines",5', '4,b"c"d,6', '5,"z",7']
    text = "a,size,y\n" + "\n".join(rows * 80_000) + "\n"  # longer than a row may be
    assert len(text) > 1 << 22
    data, _ = load(write(tmp_path / "t.csv", text), target="size")
    assert len(data) == 400_000
    assert data.classes == ('3" x, "y"', '5"', 'b"c"d', "two\nlines", "z")


def test_csv_names_and_cells_are_shortened_in_messages(tmp_path: Path) -> None:
    long = "x" * 100_000
    for text, target in (
        (f"a,{long}\n1,{long}\n", None),
        (f"{long},y\n{long},1\n", "y"),
        (",".join(f"c{k}" for k in range(50_000)) + "\n", None),
        (f"a,y\n1,2.5\n1,{long}\n", "y"),
    ):
        with pytest.raises(ValueError, match=r"t\.csv") as caught:
            load(write(tmp_path / "t.csv", text), target=target)
        assert len(str(caught.value)) < 600
    with pytest.raises(ValueError, match=r"got 100,001 columns, expected at most 100,000; use an \.npy file"):
        load(write(tmp_path / "t.csv", "," * 100_000 + "\n"))


# --- IDX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_pair(tmp_path: Path, zipped: bool) -> None:
    path = save_idx(tmp_path, "t10k", zipped=zipped)
    data, test = load(path)
    assert test is None
    assert data.inputs.dtype == np.uint8
    np.testing.assert_array_equal(data.inputs, np.arange(12).reshape(3, 4))
    assert data.classes == ("3", "7")
    assert data.targets.tolist() == [0, 1, 0]
    assert data.name == "t10k-images-idx3-ubyte"


def test_idx_reads_what_a_browser_has_unzipped(tmp_path: Path) -> None:
    path = save_idx(tmp_path, "t10k")
    assert len(load(path.rename(f"{path}.gz"))[0]) == 3


def test_idx_folder_with_both_parts(tmp_path: Path) -> None:
    save_idx(tmp_path, "train", labels=(1, 2, 3, 2), zipped=True)
    save_idx(tmp_path, "t10k", labels=(3, 2))
    data, test = load(tmp_path)
    assert test is not None
    assert (len(data), len(test)) == (4, 2)
    assert test.classes == data.classes == ("1", "2", "3")
    assert test.targets.tolist() == [2, 1]
    assert (data.name, test.name) == (tmp_path.name, f"{tmp_path.name}-test")
    assert data.source == test.source == str(tmp_path)


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_idx_folder_with_one_part(tmp_path: Path, part: str) -> None:
    save_idx(tmp_path, part)
    save_idx(tmp_path, part, zipped=True)
    data, test = load(tmp_path)
    assert (len(data), test, data.name) == (3, None, tmp_path.name)


def test_idx_folders_that_are_not_clear(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "")
    with pytest.raises(FileNotFoundError, match=r"got a folder with notes\.txt, expected MNIST's file names"):
        load(tmp_path)
    save_idx(tmp_path, "a-train")
    save_idx(tmp_path, "b-train")
    with pytest.raises(
        ValueError, match=r"got the images files a-train-images.*, b-train-images.*, expected one train"
    ):
        load(tmp_path)


IMAGES = idx(np.zeros((3, 2, 2)))
ZIPPED = gzip.compress(IMAGES, mtime=0)  # the time would be in the names of tests, which workers compare


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got 0 bytes, expected a header of 16; the file is truncated"),
        (IMAGES[:10], "got 10 bytes, expected a header of 16; the file is truncated"),
        (IMAGES[:-1], "got 11 bytes of data, expected 12 for the shape (3, 2, 2); the file is truncated"),
        (IMAGES + b"\0", "got more than 12 bytes of data, expected 12 for the shape (3, 2, 2)"),
        (idx(np.zeros(3)), "got the magic number 2049, expected 2051, that of an IDX file of uint8 images"),
        (idx(np.zeros((2, 2, 2))), "2 rows of inputs and 3 targets"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "got the magic number 3331, expected 2051"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "the file is truncated"),
        (ZIPPED[:-9], "gzip data that is damaged"),
        (ZIPPED[:-6] + bytes(6), "gzip data that is damaged"),
        (ZIPPED[:12] + b"\xff" * 9, "gzip data that is damaged"),
    ],
)
def test_idx_errors(tmp_path: Path, content: bytes, words: str) -> None:
    path = save_idx(tmp_path, "train")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(words)):
        load(path)


def test_idx_is_unzipped_as_far_as_its_header_says(tmp_path: Path) -> None:
    path = save_idx(tmp_path, "train")
    path.write_bytes(gzip.compress(IMAGES + bytes(1 << 25)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="got more than 12 bytes of data, expected 12"):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_idx_without_images_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "letters-idx3-ubyte").write_bytes(IMAGES)
    (tmp_path / "letters-idx1-ubyte").write_bytes(idx(np.array([1, 2, 1])))
    assert load(tmp_path / "letters-idx3-ubyte")[0].classes == ("1", "2")


def test_idx_labels_alone_and_images_alone(tmp_path: Path) -> None:
    path = save_idx(tmp_path, "train")
    labels = tmp_path / "train-labels-idx1-ubyte"
    with pytest.raises(ValueError, match="got a labels file, expected the images file"):
        load(labels)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match="no labels next to it, expected train-labels-idx1-ubyte"):
        load(path)


# --- paths ------------------------------------------------------------------------------------------------------------


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "table.csv", "a,y\n1,2\n")
    write(tmp_path / "table.parquet", "")
    with pytest.raises(FileNotFoundError, match=r"no such file or folder, expected \.npz.*; did you mean table\.csv\?"):
        load(tmp_path / "tabel.csv")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load(tmp_path / "none" / "a.npz")
    with pytest.raises(ValueError, match=r"file of unknown kind, expected \.npz, \.npy, \.csv"):
        load(tmp_path / "table.parquet")


def test_target_is_for_csv_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    for path in (None, tmp_path / "a.npz", "a.npy,b.npy"):
        with pytest.raises(ValueError, match="target='y', which names a column of a CSV file; leave it out"):
            load(path, target="y")


@pytest.mark.skipif("FASTOPT_MNIST" not in os.environ, reason="FASTOPT_MNIST does not name a folder with MNIST's t10k")
def test_mnist_folder() -> None:
    data, _ = load(os.environ["FASTOPT_MNIST"])
    part = data if len(data) == 10_000 else load(os.environ["FASTOPT_MNIST"])[1]
    assert part is not None
    assert part.inputs.shape == (10_000, 784)
    assert part.classes == tuple("0123456789")
    assert np.bincount(part.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    train, test = split(check_dataset(part), 0.2, seed=0)
    assert (len(train), len(test)) == (8000, 2000)
    assert np.abs(np.bincount(test.targets) - 0.2 * np.bincount(part.targets)).max() < 1
