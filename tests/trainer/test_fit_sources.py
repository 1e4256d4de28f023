"""Tables from scikit-learn's sets and from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from ringyard_trainer.errors import BadInput
from ringyard_trainer.sources import read
from sklearn import datasets


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_scikit_learns_sets_are_what_its_own_loaders_give(name: str) -> None:
    raw = {"scaled": False} if name == "diabetes" else {}
    wanted = getattr(datasets, f"load_{name}")(**raw)
    table = read(f"sklearn://{name}")
    assert table.label == "target"
    assert [each for each in table.columns if each != "target"] == list(wanted.feature_names)
    features = np.stack([column for each, column in table.columns.items() if each != "target"], axis=1)
    np.testing.assert_array_equal(features, wanted.data)
    np.testing.assert_array_equal(table.columns["target"], wanted.target)


def test_csv_parquet_and_npz_of_the_same_rows_give_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n1,2.5,x\n2,,z\n")
    parquet.write_table(pa.table({"a": [1, 2], "b": [2.5, None], "y": ["x", "z"]}), tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", a=[1, 2], b=[2.5, np.nan], y=np.array(["x", "z"]))
    for name in ("t.csv", "t.parquet", "t.npz"):
        table = read(f"file://{tmp_path}/{name}")
        np.testing.assert_array_equal(table.columns["a"], [1.0, 2.0])
        np.testing.assert_array_equal(table.columns["b"], [2.5, np.nan])
        assert table.columns["y"].tolist() == ["x", "z"]


def test_an_npz_array_of_images_stands_for_its_pixels(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.arange(24).reshape(2, 3, 4), y=[0, 1])
    table = read(str(tmp_path / "t.npz"))
    assert table.groups["x"] == tuple(f"x.{number}" for number in range(12))
    assert table.columns["x.11"].tolist() == [11.0, 23.0]


def test_an_npz_with_pickled_objects_is_refused_unread(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(BadInput, match="cannot be read as npz"):
        read(str(tmp_path / "t.npz"))


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("/nowhere/t.csv", r"spec\.data\.uri: there is no file /nowhere/t\.csv: check the path"),
        ("sklearn://digit", r"spec\.data\.uri: there is no set sklearn://digit: there are digits, iris"),
        ("/nowhere/t.xls", r"spec\.data\.uri: 't\.xls' ends in none of \.csv, \.parquet, \.npz"),
    ],
)
def test_a_source_that_is_not_there_is_told_in_one_sentence(uri: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read(uri)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "cannot be read as csv"), ("a,b\n", "holds no rows"), ("a,a\n1,2\n", "2 columns named 'a'"),
     ("a,b\n1,2\n1,2,3\n", "cannot be read as csv")],
)  # fmt: skip
def test_a_broken_csv_is_told_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=says):
        read(str(tmp_path / "t.csv"))
