"""The gate passes a model only for metrics that were computed and reach what was demanded."""

from __future__ import annotations

import math

import pytest
from ringyard_api.gate import judge
from ringyard_api.loading import to_object
from ringyard_api.trainingjob import GateSpec, Metric

JUDGEMENTS: list[tuple[Metric, float | None, float | None, dict[str, float], bool, str]] = [
    ("accuracy", 0.95, None, {"accuracy": 0.97}, True, "accuracy 0.97 is at least 0.95"),
    ("accuracy", 0.95, None, {"accuracy": 0.95}, True, "accuracy 0.95 is at least 0.95"),
    ("accuracy", 0.95, None, {"accuracy": 0.91}, False, "accuracy 0.91 is below 0.95"),
    ("accuracy", 0.95, None, {"accuracy": 0.949999}, False, "accuracy 0.949999 is below 0.95"),
    ("mse", None, 0.1, {"mse": 0.1}, True, "mse 0.1 is at most 0.1"),
    ("mse", None, 0.1, {"mse": 0.2}, False, "mse 0.2 is above 0.1"),
    ("f1", 0.5, None, {"accuracy": 1.0}, False, "f1 was not computed, or is not a finite number"),
    ("loss", None, 1.0, {"loss": math.nan}, False, "loss was not computed, or is not a finite number"),
]


@pytest.mark.parametrize(("metric", "at_least", "at_most", "metrics", "passed", "message"), JUDGEMENTS)
def test_a_demand_is_judged_with_a_sentence(
    metric: Metric, at_least: float | None, at_most: float | None, metrics: dict[str, float], passed: bool, message: str
) -> None:
    result = judge([GateSpec(metric=metric, at_least=at_least, at_most=at_most)], metrics)
    assert (result.passed, result.message) == (passed, message)


def test_no_gate_passes_and_of_many_demands_all_must_hold() -> None:
    assert judge([], {}).passed
    gate = [GateSpec(metric="accuracy", at_least=0.9), GateSpec(metric="loss", at_most=0.5)]
    assert judge(gate, {"accuracy": 0.95, "loss": 0.4}).passed
    result = judge(gate, {"accuracy": 0.5, "loss": 0.6})
    assert not result.passed and result.message == "accuracy 0.5 is below 0.9; loss 0.6 is above 0.5"


def test_the_answer_is_plain_data_for_the_report() -> None:
    plain = to_object(judge([GateSpec(metric="accuracy", at_least=0.9)], {"accuracy": 1.0}))
    assert plain["passed"] is True
    assert plain["checks"] == [{"metric": "accuracy", "value": 1.0, "atLeast": 0.9, "passed": True}]
