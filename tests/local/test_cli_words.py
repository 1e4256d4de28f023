"""The pure parts of the command line: `--set`, columns and ages, rows for `predict`."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ringyard_operator.cli.exits import BadInput
from ringyard_operator.cli.output import span, table
from ringyard_operator.cli.overrides import apply
from ringyard_operator.predict import Fault, PredictionError, Tensor, flatten, parse_rows


def _set(*settings: str) -> dict[str, Any]:
    manifest = {"metadata": {"name": "a"}, "spec": {"fit": {"epochs": 1}, "evaluate": {"gate": [{"metric": "f1"}]}}}
    edited = apply(manifest, settings, yaml.safe_load)
    assert manifest["spec"]["fit"] == {"epochs": 1}, "the manifest that was given stays as it was"
    return edited


def test_set_takes_full_paths_and_paths_below_spec() -> None:
    edited = _set("spec.fit.epochs=3", "fit.batchSize=64", "metadata.name=b")
    assert edited["spec"]["fit"] == {"epochs": 3, "batchSize": 64}
    assert edited["metadata"]["name"] == "b"


def test_set_reads_values_as_yaml_and_makes_what_is_missing() -> None:
    edited = _set("fit.optimizer.lr=0.1", "serve.endpoint=x", "runPolicy.suspend=true", "evaluate.metrics=[f1, recall]")
    assert edited["spec"]["fit"]["optimizer"] == {"lr": 0.1}
    assert edited["spec"]["serve"] == {"endpoint": "x"}
    assert edited["spec"]["runPolicy"]["suspend"] is True
    assert edited["spec"]["evaluate"]["metrics"] == ["f1", "recall"]


def test_set_reaches_items_of_lists_and_appends_one() -> None:
    edited = _set("evaluate.gate[0].atLeast=0.9", "evaluate.gate.1.metric=recall")
    assert edited["spec"]["evaluate"]["gate"] == [{"metric": "f1", "atLeast": 0.9}, {"metric": "recall"}]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("fit.epochs", "must be path=value"),
        ("=3", "must be path=value"),
        ("fit[x]=3", "is no path"),
        ("evaluate.gate[5].metric=f1", "the list has 1 items"),
        ("evaluate.gate.metric=f1", "names an item of a list"),
        ("fit.epochs.x.y=1", ""),
    ],
)
def test_set_says_what_it_cannot_follow(setting: str, sentence: str) -> None:
    if not sentence:  # a scalar on the way becomes a mapping, and the loader says what is wrong with that
        assert _set(setting)["spec"]["fit"]["epochs"] == {"x": {"y": 1}}
        return
    with pytest.raises(BadInput, match="--set") as caught:
        _set(setting)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0s"), (59, "59s"), (60, "1m"), (190, "3m10s"), (7500, "2h5m"), (86400 * 4 + 3 * 3600, "4d3h")],
)
def test_durations_read_as_kubectl_writes_ages(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_columns_line_up_and_empty_cells_are_dashes() -> None:
    assert table(("NAME", "STEP"), [["digits", ""], ["a", "12"]]) == "NAME    STEP\ndigits  -\na       12\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("[1, 2]", [[1, 2]]),
        ("[1, 2]\n[3, 4]\n", [[1, 2], [3, 4]]),
        ('{"a": 1}\n\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}', [{"a": 1}]),
        ('[{"a": 1}, {"a": null}]', [{"a": 1}, {"a": None}]),
    ],
)
def test_rows_may_be_a_list_one_row_or_json_lines(text: str, rows: list[Any]) -> None:
    assert parse_rows(text) == rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there are no rows"),
        ("[]", "the list of rows is empty"),
        ("5.1, 3.5", "the rows are not JSON"),
        ("[1, 2]\n[3,\n", "line 2"),
        ("3", "must be a JSON list of rows, got a number"),
    ],
)
def test_text_that_holds_no_rows_is_refused_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(PredictionError) as caught:
        parse_rows(text)
    assert sentence in str(caught.value)
    assert caught.value.fault is Fault.ROWS


FLAT = (Tensor(name="input", datatype="FP32", shape=(-1, 3)),)
COLUMNS = (Tensor(name="age", datatype="INT64", shape=(-1, 1)), Tensor(name="town", datatype="BYTES", shape=(-1,)))


def test_a_row_by_feature_names_is_put_into_the_order_of_the_model() -> None:
    assert flatten({"c": 3, "a": 1, "b": None}, 1, FLAT, ["a", "b", "c"]) == [1, None, 3]
    assert flatten({"town": "Ulm", "age": 7}, 1, COLUMNS, None) == [7, "Ulm"]
    assert flatten([[1, 2], [3]], 1, FLAT, None) == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "inputs", "sentence"),
    [
        ([1, 2], FLAT, "row 7 has 2 values, the model takes 3 features"),
        ({"a": 1, "b": 2, "cc": 3}, FLAT, "row 7: unknown feature 'cc', did you mean 'c'"),
        ({"a": 1, "b": 2}, FLAT, "row 7: feature 'c' is missing"),
        ([1, "x", 2], FLAT, "row 7: 'x' is not a number, as input input needs"),
        ([1.5, "Ulm"], COLUMNS, "row 7: 1.5 is not whole, as input age needs"),
        (3, FLAT, "row 7 must be a list or an object, got a number"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_number(row: Any, inputs: tuple[Tensor, ...], sentence: str) -> None:
    with pytest.raises(PredictionError) as caught:
        flatten(row, 7, inputs, ["a", "b", "c"])
    assert sentence in str(caught.value)
