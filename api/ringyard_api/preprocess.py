"""Preprocessing: fitted on the train part, stored with the model as JSON, replayed on every request. NumPy only.

The trainer fits and applies it, the server applies it: the same code, so that both see the same numbers. It knows no
file, no split and no label. Arithmetic is in float64; one-hot values are compared in float32, as requests carry them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringyard_api.trainingjob import PreprocessStep

Matrix = NDArray[np.float64]
_MOST_VALUES = 4096


class PreprocessError(ValueError):
    """Values that cannot be preprocessed. `column` is the feature at fault; the text is one sentence."""

    def __init__(self, column: str, message: str) -> None:
        self.column = column
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Standardized:
    """(x - mean) / scale, by column number; columns without have mean 0 and scale 1."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @cached_property
    def _arrays(self) -> tuple[Matrix, Matrix]:
        return np.array(self.mean), np.array(self.scale)

    def apply(self, matrix: Matrix, names: Sequence[str]) -> Matrix:
        mean, scale = self._arrays
        return (matrix - mean) / scale


@dataclass(frozen=True, kw_only=True)
class Imputed:
    """What a missing value becomes, by column number; None leaves it missing."""

    fill: tuple[float | None, ...]

    @cached_property
    def _array(self) -> Matrix:
        return np.array([np.nan if each is None else each for each in self.fill])

    def apply(self, matrix: Matrix, names: Sequence[str]) -> Matrix:
        return np.where(np.isnan(matrix), self._array, matrix)


@dataclass(frozen=True, kw_only=True)
class OneHot:
    """Values of the columns that are replaced by one column each, by column number; an unknown value gives zeros."""

    values: Mapping[int, tuple[float, ...]]

    def apply(self, matrix: Matrix, names: Sequence[str]) -> Matrix:
        refuse_missing(matrix[:, list(self.values)], [names[number] for number in self.values])
        parts = []
        for number in range(matrix.shape[1]):
            column = matrix[:, number, None]
            if number in self.values:
                column = (column.astype(np.float32) == np.array(self.values[number], dtype=np.float32)).astype(
                    np.float64
                )
            parts.append(column)
        return np.concatenate(parts, axis=1)


Fitted = Standardized | Imputed | OneHot


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A fitted pipeline.

    Attributes:
        features: names of the raw columns, in the order of a request.
        texts: known values of the columns that hold texts; such a value becomes its number, an unknown one -1.
        names: before each step and after the last, the names of the columns.
        steps: in order.
    """

    features: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[tuple[str, ...], ...]
    steps: tuple[Fitted, ...] = ()

    @property
    def width(self) -> int:
        """Columns after the last step."""
        return len(self.names[-1])

    def apply(self, raw: NDArray[Any]) -> Matrix:
        """Raw features of shape (samples, features), numbers or objects, to shape (samples, width).

        Raises PreprocessError for a wrong width, a text where a number belongs, or a missing value.
        """
        if raw.ndim != 2 or raw.shape[1] != len(self.features):
            raise PreprocessError("", f"must have shape (samples, {len(self.features)}), got {raw.shape}")
        return self._steps(self._numbers(raw))

    def apply_columns(self, columns: Mapping[str, NDArray[Any]]) -> Matrix:
        """The same for columns by name, each of shape (samples,)."""
        return self._steps(_stack([_coded(columns[name], name, self.texts.get(name)) for name in self.features]))

    def _numbers(self, raw: NDArray[Any]) -> Matrix:
        if raw.dtype.kind in "biuf":
            if self.texts:
                name = next(iter(self.texts))
                raise PreprocessError(name, f"column {name!r} holds texts, got numbers")
            return raw.astype(np.float64)
        return _stack([_coded(raw[:, at], name, self.texts.get(name)) for at, name in enumerate(self.features)])

    def _steps(self, matrix: Matrix) -> Matrix:
        for names, step in zip(self.names, self.steps, strict=False):
            matrix = step.apply(matrix, names)
        refuse_missing(matrix, self.names[-1])
        return matrix

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "features": list(self.features),
            "texts": {name: list(values) for name, values in self.texts.items()},
            "names": [list(names) for names in self.names],
            "steps": [_to_plain(step) for step in self.steps],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pipeline:
        """Reads it back. Raises ValueError where it is none."""
        try:
            pipeline = cls(
                features=tuple(map(str, data["features"])),
                texts={str(name): tuple(map(str, values)) for name, values in data["texts"].items()},
                names=tuple(tuple(map(str, names)) for names in data["names"]),
                steps=tuple(_from_plain(step) for step in data["steps"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a fitted pipeline: {error!r}") from None
        if len(pipeline.names) != len(pipeline.steps) + 1 or len(pipeline.names[0]) != len(pipeline.features):
            raise ValueError("not a fitted pipeline: its steps and names do not fit together")
        return pipeline


def fit(steps: Sequence[PreprocessStep], columns: Mapping[str, NDArray[Any]]) -> Pipeline:
    """Fits the steps in order on the train part.

    Args:
        steps: of the manifest.
        columns: raw features by name, each of shape (samples,): numbers, or objects (str or None).

    Raises:
        PreprocessError: a column is not there, holds texts and no oneHot, holds a missing value and no impute, or has
            too many values for oneHot.
    """
    names = tuple(columns)
    hot = {column for step in steps if step.name == "oneHot" for column in step.args["columns"]}
    texts = {name: _values(name, columns[name]) for name in names if name in hot and not _numeric(columns[name])}
    matrix = _stack([_coded(columns[name], name, texts.get(name)) for name in names])
    fitted: list[Fitted] = []
    history = [names]
    for step in steps:
        chosen = _chosen(step, history, frozenset(texts))
        made, after = _FITS[step.name](step, matrix, history[-1], chosen, texts)
        matrix = made.apply(matrix, history[-1])
        fitted.append(made)
        history.append(after)
    refuse_missing(matrix, history[-1])
    return Pipeline(features=names, texts=texts, names=tuple(history), steps=tuple(fitted))


def refuse_missing(matrix: Matrix, names: Sequence[str]) -> None:
    """Raises PreprocessError naming the first missing (NaN) value of a matrix with these columns."""
    missing = np.isnan(matrix)
    if missing.any():
        row, number = (int(each) for each in np.argwhere(missing)[0])
        count = int(missing.any(axis=1).sum())
        raise PreprocessError(
            names[number],
            f"column {names[number]!r} has no value in row {row} ({count} such row{'s' * (count > 1)}): "
            "add an impute step before, or drop such rows",
        )


def _chosen(step: PreprocessStep, history: Sequence[Sequence[str]], texts: frozenset[str]) -> list[int]:
    """Column numbers that a step is for; unless it says, those raw columns that hold numbers and are still there."""
    raw, names = history[0], history[-1]
    wanted = step.args.get("columns") or [name for name in names if name in raw and name not in texts]
    for name in wanted:
        if name not in names:
            raise PreprocessError(
                name, f"step {step.name}: there is no column {name!r}: there are {', '.join(names[:20])}"
            )
        if name in texts and step.name != "oneHot":
            raise PreprocessError(name, f"step {step.name}: column {name!r} holds texts: put a oneHot step before it")
    return [names.index(name) for name in wanted]


_Made = tuple[Fitted, tuple[str, ...]]


def _fit_standardize(
    step: PreprocessStep,
    matrix: Matrix,
    names: tuple[str, ...],
    chosen: list[int],
    texts: Mapping[str, tuple[str, ...]],
) -> _Made:
    part = matrix[:, chosen]
    refuse_missing(part, [names[number] for number in chosen])
    mean, scale = np.zeros(len(names)), np.ones(len(names))
    deviation = part.std(axis=0)
    centre = part.mean(axis=0)
    flat = deviation <= 1e-12 * np.maximum(1.0, np.abs(centre))  # a constant column, up to rounding, is only shifted
    mean[chosen], scale[chosen] = centre, np.where(flat, 1.0, deviation)
    return Standardized(mean=tuple(mean.tolist()), scale=tuple(scale.tolist())), names


def _fit_impute(
    step: PreprocessStep,
    matrix: Matrix,
    names: tuple[str, ...],
    chosen: list[int],
    texts: Mapping[str, tuple[str, ...]],
) -> _Made:
    fill: list[float | None] = [None] * len(names)
    strategy = step.args.get("strategy", "mean")
    for number in chosen:
        there = matrix[~np.isnan(matrix[:, number]), number]
        if strategy == "constant":
            fill[number] = float(step.args.get("value", 0.0))
        elif not len(there):
            raise PreprocessError(
                names[number], f"step impute: column {names[number]!r} has no value at all: drop it from data.features"
            )
        else:
            fill[number] = float(np.median(there) if strategy == "median" else there.mean())
    return Imputed(fill=tuple(fill)), names


def _fit_one_hot(
    step: PreprocessStep,
    matrix: Matrix,
    names: tuple[str, ...],
    chosen: list[int],
    texts: Mapping[str, tuple[str, ...]],
) -> _Made:
    values: dict[int, tuple[float, ...]] = {}
    after: list[str] = []
    for number, name in enumerate(names):
        if number not in chosen:
            after.append(name)
            continue
        refuse_missing(matrix[:, [number]], [name])
        there = np.unique(matrix[:, number].astype(np.float32)).tolist()
        if len(there) > _MOST_VALUES:
            raise PreprocessError(
                name, f"step oneHot: column {name!r} has {len(there)} values, {_MOST_VALUES} are the most: leave it out"
            )
        values[number] = tuple(range(len(texts[name]))) if name in texts else tuple(there)
        words = texts[name] if name in texts else [f"{each:g}" for each in there]
        after += [f"{name}={word}" for word in words]
    return OneHot(values=values), tuple(after)


_FITS = {"standardize": _fit_standardize, "impute": _fit_impute, "oneHot": _fit_one_hot}


_MISSING = (None, "", b"")  # BYTES tensors have no null: an empty text stands for it


def _numeric(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "biuf"


def _values(name: str, column: NDArray[Any]) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in column.tolist() if value is not None}))


def _coded(column: NDArray[Any], name: str, texts: Sequence[str] | None) -> Matrix:
    """One column as numbers: texts as their place among the known ones, missing ones as NaN."""
    if texts is not None:
        codes = {text: float(code) for code, text in enumerate(texts)}
        words = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in column.tolist()]
        return np.array([np.nan if word is None else codes.get(str(word), -1.0) for word in words])
    if _numeric(column):
        return column.astype(np.float64)
    try:
        return np.array([np.nan if value in _MISSING else float(value) for value in column.tolist()], dtype=np.float64)
    except (TypeError, ValueError):
        value = next(value for value in column.tolist() if value not in _MISSING and not _is_number(value))
        raise PreprocessError(
            name, f"column {name!r} holds {value!r}, which is no number: add a oneHot step for it, or leave it out"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _stack(columns: Sequence[Matrix]) -> Matrix:
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0))


def _to_plain(step: Fitted) -> dict[str, Any]:
    if isinstance(step, Standardized):
        return {"standardize": {"mean": list(step.mean), "scale": list(step.scale)}}
    if isinstance(step, Imputed):
        return {"impute": {"fill": list(step.fill)}}
    return {"oneHot": {"values": {str(number): list(values) for number, values in step.values.items()}}}


def _from_plain(data: Mapping[str, Any]) -> Fitted:
    ((name, args),) = data.items()
    if name == "standardize":
        return Standardized(mean=tuple(map(float, args["mean"])), scale=tuple(map(float, args["scale"])))
    if name == "impute":
        return Imputed(fill=tuple(None if each is None else float(each) for each in args["fill"]))
    if name == "oneHot":
        return OneHot(values={int(number): tuple(map(float, values)) for number, values in args["values"].items()})
    raise ValueError(f"unknown step {name!r}")
