"""Reads a table of named columns from where `spec.data.uri` points: scikit-learn's bundled sets, CSV, Parquet, NPZ.

Called by `dataset` only. scikit-learn's files are read directly, because importing it takes seconds of every start; a
test holds them against its own loaders. It knows nothing of features, labels, splits or torch.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from ringyard_trainer.errors import BadInput

_WHERE = "spec.data.uri"
SKLEARN_LABEL = "target"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns by name, each of shape (samples,): float64 where the source holds numbers, else objects (str or None).

    Attributes:
        columns: in the order of the source.
        groups: names that stand for several columns (an NPZ array of two or more dimensions).
        label: the column that is the label unless the manifest names one.
    """

    columns: Mapping[str, NDArray[Any]]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: str | None = None


def read(uri: str) -> Table:
    """Reads the whole table.

    Raises:
        BadInput: there is no such set or file, it cannot be read, or it holds no rows.
    """
    parts = urlsplit(uri)
    if parts.scheme == "sklearn":
        return _sklearn(parts.netloc or parts.path)
    path = Path(unquote(parts.path) if parts.scheme == "file" else uri)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadInput(_WHERE, f"{path.name!r} ends in none of {', '.join(_READERS)}: rename or convert the file")
    if not path.is_file():
        raise BadInput(_WHERE, f"there is no file {path}: check the path (it is taken from the manifest's folder)")
    try:
        table = reader(path)
    except BadInput:
        raise
    except Exception as error:  # whatever the reader of the format raises: the file is at fault
        raise BadInput(_WHERE, f"{path} cannot be read as {path.suffix[1:]}: {_first_line(error)}") from error
    if not table.columns or not len(next(iter(table.columns.values()))):
        raise BadInput(_WHERE, f"{path} holds no rows")
    return table


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# --- files -------------------------------------------------------------------------------------------------------


def _csv(path: Path) -> Table:
    from pyarrow import csv as arrow_csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        _refuse_repeated(next(csv.reader(file), []), path)
    return _from_arrow(arrow_csv.read_csv(path))


def _parquet(path: Path) -> Table:
    from pyarrow import parquet

    return _from_arrow(parquet.read_table(path))


def _refuse_repeated(names: list[str], path: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadInput(_WHERE, f"{path} has {names.count(name)} columns named {name!r}: rename one")


def _from_arrow(table: Any) -> Table:
    import pyarrow

    columns: dict[str, NDArray[Any]] = {}
    for name, stored in zip(table.column_names, table.columns, strict=True):
        kind = stored.type.value_type if pyarrow.types.is_dictionary(stored.type) else stored.type
        column = stored.cast(kind)
        numeric = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
        if numeric:
            columns[name] = column.cast(pyarrow.float64()).to_numpy().astype(np.float64)  # null becomes nan
        else:
            values = [None if value is None else str(value) for value in column.to_pylist()]
            columns[name] = np.array(values, dtype=object)
    return Table(columns=columns)


def _npz(path: Path) -> Table:
    columns: dict[str, NDArray[Any]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            array = archive[name]
            if array.ndim == 1:
                columns[name] = _column(array)
            elif array.ndim > 1:
                flat = array.reshape(len(array), -1)
                groups[name] = tuple(f"{name}.{number}" for number in range(flat.shape[1]))
                columns.update({each: _column(flat[:, number]) for number, each in enumerate(groups[name])})
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise BadInput(_WHERE, f"the arrays of {path} have different numbers of rows: {sorted(lengths)}")
    return Table(columns=columns, groups=groups)


def _column(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    return np.array([str(value) for value in array], dtype=object)


_READERS: Mapping[str, Callable[[Path], Table]] = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}


# --- scikit-learn's bundled sets ---------------------------------------------------------------------------------

_IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_WINE = (
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
    *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"),
)


def _sklearn(name: str) -> Table:
    sets: Mapping[str, Callable[[Path], Table]] = {
        "digits": _digits,
        "iris": lambda folder: _labelled(folder / "iris.csv", _IRIS),
        "wine": lambda folder: _labelled(folder / "wine_data.csv", _WINE),
        "breast_cancer": lambda folder: _labelled(folder / "breast_cancer.csv", _breast_cancer_names()),
        "diabetes": _diabetes,
    }
    if name not in sets:
        raise BadInput(_WHERE, f"there is no set sklearn://{name}: there are {', '.join(sets)}")
    found = importlib.util.find_spec("sklearn")  # finds the folder without importing it
    if found is None or not found.submodule_search_locations:
        raise BadInput(_WHERE, f"sklearn://{name} needs scikit-learn: pip install 'ringyard[trainer]'")
    return sets[name](Path(found.submodule_search_locations[0]) / "datasets" / "data")


def _breast_cancer_names() -> list[str]:
    cells = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"]
    cells += ["concave points", "symmetry", "fractal dimension"]
    return [f"mean {c}" for c in cells] + [f"{c} error" for c in cells] + [f"worst {c}" for c in cells]


def _table(names: list[str] | tuple[str, ...], data: NDArray[np.float64], target: NDArray[np.float64]) -> Table:
    columns = {name: data[:, number] for number, name in enumerate(names)}
    return Table(columns={**columns, SKLEARN_LABEL: target}, label=SKLEARN_LABEL)


def _labelled(path: Path, names: list[str] | tuple[str, ...]) -> Table:
    data = np.loadtxt(path, delimiter=",", skiprows=1)  # the first line holds sizes and class names
    return _table(names, data[:, :-1], data[:, -1])


def _digits(folder: Path) -> Table:
    with gzip.open(folder / "digits.csv.gz", "rt") as file:
        data = np.loadtxt(file, delimiter=",")
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return _table(names, data[:, :-1], data[:, -1])


def _diabetes(folder: Path) -> Table:
    """In the units of the measurements (`load_diabetes(scaled=False)`): a client asks with what it measured, and
    `standardize` scales by the train part alone.
    """
    with gzip.open(folder / "diabetes_data_raw.csv.gz", "rt") as file:
        data = np.loadtxt(file)
    with gzip.open(folder / "diabetes_target.csv.gz", "rt") as file:
        target = np.loadtxt(file)
    return _table(_DIABETES, data, target)
