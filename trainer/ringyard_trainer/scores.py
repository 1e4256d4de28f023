"""Quality metrics from sums that may be added over members: each member scores its samples, AllReduce adds, all agree.

Called by `evaluate`. Classification: accuracy, and precision, recall, f1 averaged over classes (macro; a class that was
never predicted has precision 0, as scikit-learn's `zero_division=0`; classes that occur neither in labels nor in
predictions are left out). Regression: mse, mae, r2 (1 − SSE/SST, averaged over outputs). `loss` in both.
It knows no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


def classification_sums(predicted: NDArray[np.int64], wanted: NDArray[np.int64], loss_sum: float, classes: int) -> Sums:
    """Sums of some samples, shape (2 + classes²,): samples, loss, confusion matrix [wanted, predicted]."""
    confusion = np.bincount(wanted * classes + predicted, minlength=classes * classes)
    return np.concatenate([[len(wanted), loss_sum], confusion]).astype(np.float64)


def regression_sums(predicted: NDArray[Any], wanted: NDArray[Any], loss_sum: float, centre: NDArray[Any]) -> Sums:
    """Sums of some samples, shape (2 + 4·outputs,): samples, loss, then by output Σ(y−ŷ)², Σ|y−ŷ|, Σ(y−c), Σ(y−c)².

    `centre` (outputs,) is near the mean of the labels, the same on all members, and keeps the sums of squares accurate.
    """
    error = (predicted - wanted).astype(np.float64)
    centred = (wanted - centre).astype(np.float64)
    columns = [(error**2).sum(0), np.abs(error).sum(0), centred.sum(0), (centred**2).sum(0)]
    return np.concatenate([[len(wanted), loss_sum], *columns]).astype(np.float64)


def classification_scores(sums: Sums) -> Mapping[str, float]:
    """Metrics of all samples behind the added sums."""
    samples, loss = sums[0], sums[1]
    classes = round(float(np.sqrt(len(sums) - 2)))
    confusion = sums[2:].reshape(classes, classes)
    right, wanted, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    there = (wanted + predicted) > 0
    precision = np.divide(right, predicted, out=np.zeros(classes), where=predicted > 0)
    recall = np.divide(right, wanted, out=np.zeros(classes), where=wanted > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros(classes), where=both > 0)
    return {
        "loss": float(loss / samples),
        "accuracy": float(right.sum() / samples),
        "precision": float(precision[there].mean()),
        "recall": float(recall[there].mean()),
        "f1": float(f1[there].mean()),
    }


def regression_scores(sums: Sums) -> Mapping[str, float]:
    """Metrics of all samples behind the added sums. r2 of constant labels is 1 for no error, else 0 (scikit-learn)."""
    samples, loss = sums[0], sums[1]
    squared, absolute, total, total_squared = sums[2:].reshape(4, -1)
    spread = total_squared - total**2 / samples
    r2 = np.where(spread > 0, 1 - squared / np.where(spread > 0, spread, 1), np.where(squared == 0, 1.0, 0.0))
    return {
        "loss": float(loss / samples),
        "mse": float(squared.mean() / samples),
        "mae": float(absolute.mean() / samples),
        "r2": float(r2.mean()),
    }
