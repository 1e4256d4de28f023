"""Metrics from added sums, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from ringyard_trainer import scores
from sklearn import metrics as oracle


def test_classification_metrics_of_shards_are_those_of_the_whole() -> None:
    generator = np.random.default_rng(0)
    wanted, predicted = generator.integers(0, 5, 200), generator.integers(0, 4, 200)  # class 4 is never predicted
    sums = sum(
        (
            scores.classification_sums(predicted[part], wanted[part], 1.5, 6)
            for part in np.array_split(np.arange(200), 3)
        ),
        np.zeros(38),
    )
    found = scores.classification_scores(sums)
    average = {"average": "macro", "zero_division": 0}
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(wanted, predicted))
    assert found["precision"] == pytest.approx(oracle.precision_score(wanted, predicted, **average))
    assert found["recall"] == pytest.approx(oracle.recall_score(wanted, predicted, **average))
    assert found["f1"] == pytest.approx(oracle.f1_score(wanted, predicted, **average))
    assert found["loss"] == pytest.approx(4.5 / 200)


def test_regression_metrics_of_shards_are_those_of_the_whole() -> None:
    generator = np.random.default_rng(0)
    wanted = generator.normal(1e6, 3, (90, 2))
    predicted = wanted + generator.normal(0, 1, (90, 2))
    centre = wanted[:10].mean(0)
    sums = sum(
        (
            scores.regression_sums(predicted[part], wanted[part], 0.0, centre)
            for part in np.array_split(np.arange(90), 4)
        ),
        np.zeros(10),
    )
    found = scores.regression_scores(sums)
    assert found["mse"] == pytest.approx(oracle.mean_squared_error(wanted, predicted))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(wanted, predicted))
    assert found["r2"] == pytest.approx(oracle.r2_score(wanted, predicted))


def test_a_member_without_samples_adds_nothing() -> None:
    nothing = scores.classification_sums(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0.0, 3)
    assert nothing.tolist() == [0.0] * 11
