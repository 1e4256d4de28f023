"""The data of a run: features, labels, parts and fitted preprocessing, as tensors that a step indexes.

Called by `fit`. Every member loads all of it and works on its share. What is wrong with the data is told here with the
manifest's path. It knows no model and no gang.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ringyard_api import preprocess
from ringyard_api.trainingjob import DataSpec

from ringyard_trainer.errors import BadInput
from ringyard_trainer.sources import Table, read
from ringyard_trainer.split import Parts, split

_LABEL = "spec.data.label"
_FEATURES = "spec.data.features"
_PREPROCESS = "spec.data.preprocess"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What training, evaluation and export need.

    Attributes:
        inputs: preprocessed features, shape (samples, columns after preprocessing), of the run's precision.
        targets: class numbers, int64 (samples,); or values of the run's precision, (samples, outputs).
        features: names of the raw columns, in the order in which a client sends them.
        text: whether any raw column holds text (a client then sends BYTES).
        labels: the label's value of each class, sorted; empty in a regression.
        centre: mean of the train part's targets by output, float64 (outputs,).
        parts: sample numbers of train, validation and test.
        pipeline: fitted on the train part only.
        digest: of everything that was read: "sha256:…".
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    features: tuple[str, ...]
    text: bool
    labels: tuple[int | str, ...]
    centre: NDArray[np.float64]
    parts: Parts
    pipeline: preprocess.Pipeline
    digest: str

    @property
    def classes(self) -> int:
        """Number of classes, 0 in a regression."""
        return len(self.labels)


def load(spec: DataSpec, *, classify: bool, dtype: torch.dtype) -> Dataset:
    """Reads, splits and preprocesses.

    Raises:
        BadInput: with the field of the manifest that the data does not fit.
    """
    table = read(spec.uri)
    label = _label_columns(table, spec.label)
    features = _feature_columns(table, spec.features, label)
    targets, labels = _classes(table, label) if classify else (_values(table, label), ())
    keys = np.array(labels)[targets] if classify else targets[:, 0]
    cut = spec.split
    if cut.stratify and not classify:
        raise BadInput("spec.data.split.stratify", "needs classes, but this loss has none: set stratify: false")
    parts = split(keys, validation=cut.validation, test=cut.test, seed=cut.seed, stratify=cut.stratify)
    columns = {name: table.columns[name] for name in features}
    pipeline, inputs = _preprocess(spec, columns, parts)
    return Dataset(
        inputs=torch.from_numpy(np.ascontiguousarray(inputs)).to(dtype),
        targets=torch.from_numpy(targets) if classify else torch.from_numpy(targets).to(dtype),
        features=features,
        text=any(column.dtype == object for column in columns.values()),
        labels=labels,
        centre=np.zeros(0) if classify else targets[parts.train].mean(0),
        parts=parts,
        pipeline=pipeline,
        digest=_digest(table, (*features, *label)),
    )


def _label_columns(table: Table, label: str | None) -> tuple[str, ...]:
    name = label or table.label
    if name is None:
        raise BadInput(_LABEL, f"name the column to predict; there are {_some(table.columns)}")
    if name in table.groups:
        return table.groups[name]
    if name not in table.columns:
        raise BadInput(_LABEL, f"there is no column {name!r} in the data; there are {_some(table.columns)}")
    return (name,)


def _feature_columns(table: Table, features: Sequence[str], label: tuple[str, ...]) -> tuple[str, ...]:
    if not features:
        found = tuple(name for name in table.columns if name not in label)
        if not found:
            raise BadInput(_FEATURES, f"the data has no column beside the label {label[0]!r}")
        return found
    chosen: list[str] = []
    for number, name in enumerate(features):
        place = f"{_FEATURES}[{number}]"
        if name not in table.columns and name not in table.groups:
            raise BadInput(place, f"there is no column {name!r} in the data; there are {_some(table.columns)}")
        if name in label:
            raise BadInput(place, f"{name!r} is the label: a model that sees it learns nothing else")
        chosen.extend(table.groups.get(name, (name,)))
    return tuple(chosen)


def _classes(table: Table, label: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[int | str, ...]]:
    if len(label) > 1:
        raise BadInput(_LABEL, "has several columns: crossEntropy predicts one, use mse")
    column = table.columns[label[0]]
    _refuse_missing(label[0], column)
    if column.dtype != object and not np.array_equal(column, np.round(column)):
        raise BadInput(_LABEL, f"{label[0]!r} holds fractions, which are no classes: use spec.fit.loss: mse")
    values, numbers = np.unique(column.astype(str) if column.dtype == object else column, return_inverse=True)
    if len(values) < 2:
        raise BadInput(_LABEL, f"{label[0]!r} has only one class, {values[0].item()!r}: there is nothing to learn")
    names = tuple(str(value) if column.dtype == object else int(value) for value in values)
    return numbers.astype(np.int64).reshape(-1), names


def _values(table: Table, label: tuple[str, ...]) -> NDArray[np.float64]:
    for name in label:
        column = table.columns[name]
        if column.dtype == object:
            raise BadInput(
                _LABEL, f"{name!r} holds text ({_example(column)}), which mse cannot predict: use crossEntropy"
            )
        _refuse_missing(name, column)
    return np.stack([table.columns[name] for name in label], axis=1)


def _refuse_missing(name: str, column: NDArray[Any]) -> None:
    missing = _missing(column)
    if missing.any():
        first = int(np.flatnonzero(missing)[0])
        raise BadInput(
            _LABEL, f"{name!r} has no value in {_rows(int(missing.sum()))} (first: row {first + 1}): remove those rows"
        )


def _preprocess(
    spec: DataSpec, columns: Mapping[str, NDArray[Any]], parts: Parts
) -> tuple[preprocess.Pipeline, NDArray[np.float64]]:
    """Fits on the train part, applies to all rows."""
    _refuse_raw(spec, columns)
    train = {name: column[parts.train] for name, column in columns.items()}
    try:
        pipeline = preprocess.fit(spec.preprocess, train)
        whole = pipeline.apply_columns(columns)
    except ValueError as error:
        raise BadInput(_PREPROCESS, str(error)) from error
    if not np.isfinite(whole).all():
        row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(whole)))
        raise BadInput(_FEATURES, f"row {row + 1} is not finite after preprocessing (column {column + 1})")
    return pipeline, whole


def _refuse_raw(spec: DataSpec, columns: Mapping[str, NDArray[Any]]) -> None:
    """Text needs oneHot and gaps need impute; said here, where the column's name is known."""
    encoded = _covered(spec, "oneHot", columns)
    imputed = _covered(spec, "impute", columns)
    for name, column in columns.items():
        if column.dtype == object and name not in encoded:
            raise BadInput(
                _FEATURES,
                f"{name!r} holds text ({_example(column)}): add {{oneHot: {{columns: [{name}]}}}} to {_PREPROCESS}, "
                "or leave the column out",
            )
        missing = _missing(column)
        if missing.any() and name not in imputed:
            first = int(np.flatnonzero(missing)[0])
            raise BadInput(
                _FEATURES,
                f"{name!r} has no value in {_rows(int(missing.sum()))} (first: row {first + 1}): "
                f"add {{impute: {{strategy: mean}}}} to {_PREPROCESS}, or remove those rows",
            )
        if column.dtype != object and np.isinf(column).any():
            raise BadInput(_FEATURES, f"{name!r} holds an infinite value: remove that row")


def _covered(spec: DataSpec, step_name: str, columns: Mapping[str, NDArray[Any]]) -> set[str]:
    covered: set[str] = set()
    for step in spec.preprocess:
        if step.name == step_name:
            covered |= set(step.args.get("columns") or columns)
    return covered


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype == object:
        return np.array([value is None for value in column], dtype=np.bool_)
    missing: NDArray[np.bool_] = np.isnan(column)
    return missing


def _example(column: NDArray[Any]) -> str:
    return f"{next((value for value in column if value is not None), '')!r}"


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count > 1)}"


def _some(names: Mapping[str, Any]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (f" … ({len(listed)} in all)" if len(listed) > 8 else "")


def _digest(table: Table, names: tuple[str, ...]) -> str:
    seen = hashlib.sha256()
    for name in names:
        column = table.columns[name]
        seen.update(name.encode() + b"\0")
        seen.update("\0".join(map(str, column)).encode() if column.dtype == object else column.tobytes())
    return f"sha256:{seen.hexdigest()}"
