"""Preprocessing is fitted on what it is given, and replayed from JSON it gives the same numbers as in training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ringyard_api.preprocess import Pipeline, PreprocessError, fit
from ringyard_api.trainingjob import PreprocessStep
from sklearn.preprocessing import StandardScaler

RNG = np.random.default_rng(7)
NUMBERS: Mapping[str, NDArray[Any]] = {
    "a": RNG.normal(3, 2, 40),
    "b": RNG.integers(0, 3, 40).astype(float),
    "c": np.full(40, 0.1),
}
MIXED: Mapping[str, NDArray[Any]] = {
    "size": np.array([1.0, 2.0, np.nan, 4.0]),
    "colour": np.array(["red", "blue", "red", None], dtype=object),
}


def steps(*each: Mapping[str, Mapping[str, Any]]) -> list[PreprocessStep]:
    return [PreprocessStep(name=name, args=args) for step in each for name, args in step.items()]


def matrix(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return np.stack(list(columns.values()), axis=1)


def test_standardize_is_what_scikit_learn_does_and_a_constant_column_is_only_shifted() -> None:
    pipeline = fit(steps({"standardize": {}}), NUMBERS)
    expected = StandardScaler().fit_transform(matrix(NUMBERS)[:, :2])
    answer = pipeline.apply(matrix(NUMBERS))
    np.testing.assert_allclose(answer[:, :2], expected, atol=1e-12)
    np.testing.assert_allclose(answer[:, 2], 0, atol=1e-12)


def test_only_the_rows_it_was_fitted_on_count() -> None:
    pipeline = fit(steps({"standardize": {}}), {"a": np.array([0.0, 2.0])})
    np.testing.assert_allclose(pipeline.apply(np.array([[100.0]])), [[99.0]])


@pytest.mark.parametrize(
    ("strategy", "value", "filled"), [("mean", 0.0, 2.0), ("median", 0.0, 1.0), ("constant", 9.0, 9.0)]
)
def test_impute_fills_what_is_missing(strategy: str, value: float, filled: float) -> None:
    columns = {"a": np.array([1.0, np.nan, 4.0, 1.0])}
    pipeline = fit(steps({"impute": {"strategy": strategy, "value": value}}), columns)
    assert pipeline.apply(np.array([[np.nan], [5.0]])).tolist() == [[filled], [5.0]]


def test_one_hot_replaces_a_column_in_its_place_and_an_unknown_value_gives_zeros() -> None:
    pipeline = fit(steps({"oneHot": {"columns": ["b"]}}), NUMBERS)
    assert pipeline.names[-1] == ("a", "b=0", "b=1", "b=2", "c") and pipeline.width == 5
    assert pipeline.apply(np.array([[1.0, 2.0, 3.0], [1.0, 7.0, 3.0]])).tolist() == [[1, 0, 0, 1, 3], [1, 0, 0, 0, 3]]


def test_a_fraction_is_recognised_in_the_float32_of_a_request() -> None:
    pipeline = fit(steps({"oneHot": {"columns": ["a"]}}), {"a": np.array([0.1, 0.2, 0.1])})
    assert pipeline.apply(np.array([[0.1]], dtype=np.float32)).tolist() == [[1.0, 0.0]]


def test_texts_become_columns_and_standardize_leaves_those_alone() -> None:
    columns = {"size": np.array([0.0, 2.0, 2.0]), "colour": np.array(["red", "blue", "red"], dtype=object)}
    pipeline = fit(steps({"oneHot": {"columns": ["colour"]}}, {"standardize": {"columns": ["size"]}}), columns)
    again = fit(steps({"oneHot": {"columns": ["colour"]}}, {"standardize": {}}), columns)
    raw = np.array([[2.0, "blue"], [2.0, "green"]], dtype=object)
    answer = pipeline.apply(raw)
    assert answer[:, 1:].tolist() == [[1, 0], [0, 0]]
    np.testing.assert_array_equal(answer, again.apply(raw))
    asked = np.array([[b"2.0", b"blue"], [b"2.0", b"green"]], dtype=object)  # BYTES of a request
    np.testing.assert_array_equal(answer, pipeline.apply(asked))
    np.testing.assert_array_equal(answer, pipeline.apply_columns({"size": raw[:, 0], "colour": raw[:, 1]}))


def test_replayed_from_json_it_gives_the_same_bits() -> None:
    wanted = steps({"impute": {"strategy": "mean"}}, {"oneHot": {"columns": ["b"]}}, {"standardize": {}})
    pipeline = fit(wanted, NUMBERS)
    replayed = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    assert replayed == pipeline
    np.testing.assert_array_equal(replayed.apply(matrix(NUMBERS)), pipeline.apply(matrix(NUMBERS)))


REFUSED: list[tuple[Sequence[PreprocessStep], Mapping[str, NDArray[Any]], str, str]] = [
    (steps({"standardize": {}}), MIXED, "colour", "holds 'red', which is no number: add a oneHot step"),
    (steps({"oneHot": {"columns": ["colour"]}}), {"colour": MIXED["colour"]}, "colour", "has no value in row 3"),
    ((), {"size": MIXED["size"]}, "size", "has no value in row 2 (1 such row): add an impute step"),
    (steps({"standardize": {}}), {"size": MIXED["size"]}, "size", "has no value in row 2"),
    (steps({"standardize": {"columns": ["siz"]}}), NUMBERS, "siz", "there is no column 'siz': there are a, b, c"),
    (steps({"impute": {}}), {"a": np.full(3, np.nan)}, "a", "has no value at all"),
    (steps({"oneHot": {"columns": ["a"]}}), {"a": np.arange(5000.0)}, "a", "has 5000 values"),
]


@pytest.mark.parametrize(("wanted", "columns", "column", "sentence"), REFUSED, ids=[row[3] for row in REFUSED])
def test_what_cannot_be_preprocessed_is_named(
    wanted: Sequence[PreprocessStep], columns: Mapping[str, NDArray[Any]], column: str, sentence: str
) -> None:
    with pytest.raises(PreprocessError) as caught:
        fit(wanted, columns)
    assert caught.value.column == column and sentence in str(caught.value)


@pytest.mark.parametrize("raw", [np.zeros((2, 4)), np.zeros(3), np.array([[1.0, np.nan, 2.0]])])
def test_a_request_that_does_not_fit_is_refused(raw: NDArray[Any]) -> None:
    with pytest.raises(PreprocessError):
        fit(steps({"standardize": {}}), NUMBERS).apply(raw)


@pytest.mark.parametrize("data", [{}, {"features": ["a"], "texts": {}, "names": [["a"]], "steps": [{"exec": {}}]},
                                  {"features": ["a"], "texts": {}, "names": [[]], "steps": []}])  # fmt: skip
def test_what_is_no_pipeline_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a fitted pipeline"):
        Pipeline.from_json(data)
