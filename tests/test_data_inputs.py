"""Inputs to predict from: every format, with targets and without."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.data import align_classes, load, load_inputs

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([5, 3, 5, 10])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def save_idx(path: Path, values: np.ndarray[Any, Any], *, zipped: bool = False) -> Path:
    content = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.astype("u1").tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "rows", "labels"),
    [
        ({"x": X}, 4, None),
        ({"images": X.reshape(4, 3, 1), "labels": Y}, 4, ["5", "3", "5", "10"]),
        ({"x_train": X}, 4, None),
        ({"x_train": X, "y_train": Y, "x_test": X[2:], "y_test": Y[2:]}, 2, ["5", "10"]),
        ({"x_train": X, "y_train": Y, "x_test": X[2:]}, 2, None),
        ({"x_test": X[:1]}, 1, None),
    ],
)
def test_npz(tmp_path: Path, arrays: dict[str, Any], rows: int, labels: list[str] | None) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    inputs, labelled = load_inputs(tmp_path / "a.npz")
    assert inputs.shape == (rows, 3)
    np.testing.assert_array_equal(inputs, X[4 - rows :] if "x_train" in arrays else X[:rows])
    assert (labelled is None) == (labels is None)
    if labelled is not None:
        assert labelled.inputs is inputs
        assert [(labelled.classes or ())[k] for k in labelled.targets] == labels
        assert labelled.name == ("a-test" if rows == 2 else "a")


def test_npz_errors(tmp_path: Path) -> None:
    for arrays, words in (
        ({"y": Y}, "found the arrays y, expected inputs named x or X"),
        ({"x_train": X, "y_test": Y}, "expected inputs named x_test"),
        ({"x": X, "y": Y[:2]}, "4 rows of inputs and 2 targets"),
        ({"x": X[:0]}, "got no data: 0 rows of 3 features"),
        ({"x": X[0]}, "reshape(-1, 1)"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=re.escape(words)):
            load_inputs(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.array([["a"]]))
    with pytest.raises(TypeError, match="got inputs of dtype <U1"):
        load_inputs(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1)])
def test_npy_stays_a_memory_map(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X.reshape(shape))
    inputs, labelled = load_inputs(path)
    assert isinstance(inputs, np.memmap)
    assert labelled is None
    np.testing.assert_array_equal(inputs, X)
    np.save(tmp_path / "y.npy", Y)
    for source in (path, f"{path},{tmp_path}/y.npy"):
        inputs, labelled = load_inputs(source)
        assert isinstance(inputs, np.memmap)
        assert inputs.shape == (4, 3)
        assert labelled is not None
        assert labelled.inputs is inputs
        assert align_classes(labelled, ("3", "4", "5", "10")).targets.tolist() == [2, 0, 2, 3]


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    write(tmp_path / "table.parquet", "")
    with pytest.raises(FileNotFoundError, match=r"gone\.npy: no such file"):
        load_inputs(f"{tmp_path}/x.npy,{tmp_path}/gone.npy")
    with pytest.raises(FileNotFoundError, match=r"did you mean x\.npy\?"):
        load_inputs(tmp_path / "xx.npy")
    with pytest.raises(ValueError, match="file of unknown kind"):
        load_inputs(tmp_path / "table.parquet")


# --- IDX --------------------------------------------------------------------------------------------------------------


def test_idx_images_with_labels_and_alone(tmp_path: Path) -> None:
    path = save_idx(tmp_path / "new-images-idx3-ubyte", X.reshape(4, 3, 1))
    inputs, labelled = load_inputs(path)
    np.testing.assert_array_equal(inputs, X)
    assert labelled is None
    assert load_inputs(tmp_path)[0].shape == (4, 3)
    save_idx(tmp_path / "new-labels-idx1-ubyte.gz", Y, zipped=True)
    inputs, labelled = load_inputs(path)
    assert labelled is not None
    assert labelled.classes == ("3", "5", "10")
    with pytest.raises(ValueError, match="got a labels file, expected the images file"):
        load_inputs(tmp_path / "new-labels-idx1-ubyte.gz")


@pytest.mark.parametrize("with_labels", [False, True])
def test_idx_folder_gives_its_test_part(tmp_path: Path, with_labels: bool) -> None:
    save_idx(tmp_path / "train-images-idx3-ubyte", X.reshape(4, 3, 1))
    save_idx(tmp_path / "t10k-images-idx3-ubyte.gz", X[2:].reshape(2, 3, 1), zipped=True)
    if with_labels:
        save_idx(tmp_path / "t10k-labels-idx1-ubyte", Y[2:])
    inputs, labelled = load_inputs(tmp_path, target="ignored", columns=["of", "no", "meaning"])
    np.testing.assert_array_equal(inputs, X[2:])
    assert (labelled is not None) == with_labels
    assert labelled is None or (labelled.name, len(labelled)) == (f"{tmp_path.name}-test", 2)


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_columns_come_by_name_in_the_order_of_training(tmp_path: Path) -> None:
    train, _ = load(write(tmp_path / "train.csv", "a,b,y\n1,2,no\n3,4,yes\n"), target="y")
    assert train.columns == ("a", "b")
    new = write(tmp_path / "new.csv", 'id,y,b ,note,a\nr1,yes,2,"x, y",1\n,no,4,,3\n')
    inputs, labelled = load_inputs(new, columns=train.columns, target="y")
    np.testing.assert_array_equal(inputs, train.inputs)
    assert inputs.flags.c_contiguous
    assert labelled is not None
    assert labelled.inputs is inputs
    assert labelled.columns == ("a", "b")
    assert align_classes(labelled, train.classes).targets.tolist() == [1, 0]
    for target in (None, "unknown"):
        again, labelled = load_inputs(new, columns=train.columns, target=target)
        np.testing.assert_array_equal(again, inputs)
        assert labelled is None


def test_csv_without_names_of_columns_takes_all_but_the_target(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,y,b\n1,2,3\n")
    inputs, labelled = load_inputs(path, target="y")
    assert inputs.tolist() == [[1, 3]]
    assert labelled is not None
    assert labelled.columns == ("a", "b")
    inputs, labelled = load_inputs(path)
    assert inputs.tolist() == [[1, 2, 3]]
    assert labelled is None
    assert load_inputs(path, target="z")[0].shape == (1, 3)


def test_csv_of_one_column(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a\n1\n2.5\n")
    for columns in (None, ["a"]):
        inputs, labelled = load_inputs(path, columns=columns, target="y")
        assert inputs.tolist() == [[1], [2.5]]
        assert labelled is None


def test_csv_names_that_are_numbers_are_known_from_training(tmp_path: Path) -> None:
    path = write(tmp_path / "pixels.csv", "1,0\n5,6\n")
    assert load_inputs(path, columns=["0", "1"], target="label")[0].tolist() == [[6, 5]]
    for columns in (None, ["0", "2"]):
        with pytest.raises(ValueError, match="only numbers in the first row"):
            load_inputs(path, columns=columns)


def test_csv_columns_of_one_name_keep_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "b,a,x,a\n1,2,3,4\n")
    assert load_inputs(path, columns=["a", "b", "a"])[0].tolist() == [[2, 1, 4]]
    with pytest.raises(ValueError, match="got 2 columns named 'a', expected 1 as in training; rename"):
        load_inputs(path, columns=["a", "b"])
    with pytest.raises(ValueError, match="got 1 columns named 'b', expected 2 as in training"):
        load_inputs(path, columns=["b", "b"])
    with pytest.raises(ValueError, match="got 2 columns named 'a', expected one"):
        load_inputs(path, columns=["b"], target="a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "id,widht,y\n1,2,3\n",
            "found no column 'width', expected every feature of the training data; did you mean 'widht'? "
            "there are 'id', 'widht', 'y'",
        ),
        ("id,y\n1,2\n", "found no column 'width', expected every feature of the training data; there are 'id', 'y'"),
        ("id,width\nx,\n", "row 1 (the header not counted), column 'width': the value is missing, expected a number"),
        ("id,width\nx,1\ny,wide\n", "row 2 (the header not counted), column 'width': got 'wide', expected a finite"),
        ("id,width\nx,nan\n", "column 'width': got 'nan'"),
        ("id,width,y\nx,1,\n", "column 'y': the value is missing, expected a label or a number"),
        ("id,width\nSmith, J,1\nx,2\n", "row 1 (the header not counted): got 3 cells, expected 2"),
        ("id,width\nx,1\nSmith, J,1\n", "row 2 (the header not counted): got 3 cells, expected 2"),
        ("id,width\nx,1\ny\n", "row 2 (the header not counted): got 1 cells, expected 2"),
        ("width\n", "got a header and no rows"),
        ("", "got an empty first row"),
    ],
)
def test_csv_errors(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        load_inputs(write(tmp_path / "t.csv", text), columns=["width"], target="y")


def test_csv_of_the_target_alone_and_target_among_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "y\n1\n")
    with pytest.raises(ValueError, match="got no data: 1 rows of 0 features"):
        load_inputs(path, target="y")
    with pytest.raises(ValueError, match="got the target 'y' among them"):
        load_inputs(path, columns=["y"], target="y")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_text_of_several_lines_is_skipped_or_a_label(tmp_path: Path, end: str) -> None:
    rows = ['note,"wid', 'th",y', '"one', "", 'two",1,"a', 'b"', '"",2,c', '"say ""so', '""",3,c', ""]
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(rows).encode())
    inputs, labelled = load_inputs(path, columns=[f"wid{end}th"], target="y")
    assert inputs.tolist() == [[1], [2], [3]]
    assert labelled is not None
    assert labelled.classes == (f"a{end}b", "c")
    assert labelled.targets.tolist() == [0, 1, 1]


def test_csv_with_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'note,a\nx,1\n"y,2\nz,3\n')
    with pytest.raises(ValueError, match=r"row 2 .*is a quote not closed\?"):
        load_inputs(path, columns=["a"])
    path = write(tmp_path / "t.csv", 'a,note\n1,x\n2,"y\n3,z\n4,"w"\n')
    with pytest.raises(ValueError, match=r"row 2 .*is a quote not closed\?"):
        load_inputs(path, columns=["a"])


# --- regression -------------------------------------------------------------------------------------------------------


def test_regression_is_passed_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    save_idx(tmp_path / "new-images-idx3-ubyte", X.reshape(4, 3, 1))
    save_idx(tmp_path / "new-labels-idx1-ubyte", Y)
    write(tmp_path / "t.csv", "a,y\n1,5\n2,3\n3,5\n4,10\n")
    sources: list[Any] = [tmp_path / name for name in ("a.npz", "x.npy", "new-images-idx3-ubyte", "t.csv", "")]
    for source in [*sources, f"{tmp_path}/x.npy,{tmp_path}/y.npy"]:
        for regression in (False, True):
            _, labelled = load_inputs(source, target="y", regression=regression)
            assert labelled is not None
            assert labelled.is_classification != regression
            assert labelled.targets.tolist() == ([[5], [3], [5], [10]] if regression else [1, 0, 1, 2])
