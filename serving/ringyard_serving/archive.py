"""Reads a `torch.export` archive (.pt2) as what it is: a zip of JSON and raw tensor bytes.

`torch.export.load` is not fit for a file from outside: it evaluates expression strings with `eval` (through sympy's
`sympify`), unpickles sample inputs with `weights_only=False` when the safe way fails, and unpickles what the archive
itself marks as pickled (torch 2.15, `_export/serde/serialize.py`, `export/pt2_archive/_package.py`). This reader takes
the graph as plain JSON and the tensors as bytes, and refuses the rest. The predictor calls it; what the graph means is
`program`'s matter.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ringyard_serving.errors import ArtifactError

SCALAR_TYPES: Mapping[int, torch.dtype] = {  # torch/_export/serde/schema.py ScalarType
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    34: torch.uint32,
    35: torch.uint64,
}


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The serialized program, and its tensors by name: parameters and buffers, and constants apart."""

    document: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    constants: Mapping[str, torch.Tensor]


def read_archive(path: Path) -> Archive:
    """Everything of the archive that serving needs. Raises `ArtifactError`; runs nothing that came with the file."""
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(path.name, file)
            return Archive(
                document=_json(path.name, file, members, "models/model.json"),
                weights=_tensors(path.name, file, members, "weights"),
                constants=_tensors(path.name, file, members, "constants"),
            )
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise ArtifactError(f"{path.name}: not a readable torch.export archive: {error}") from None


def _members(name: str, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their path below the archive's single root folder."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        inner = info.filename.partition("/")[2]
        if info.compress_type != zipfile.ZIP_STORED or inner in members:
            raise ArtifactError(f"{name}: member {info.filename} is compressed or doubled: torch.export writes neither")
        members[inner] = info
    return members


def _json(name: str, file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], member: str) -> Mapping[str, Any]:
    if member not in members:
        raise ArtifactError(f"{name}: has no {member}; export the model with torch 2.10 or later")
    try:
        data = json.loads(file.read(members[member]))
    except ValueError as error:
        raise ArtifactError(f"{name}: {member} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ArtifactError(f"{name}: {member} is not a JSON object")
    return data


def _tensors(
    name: str, file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], kind: str
) -> dict[str, torch.Tensor]:
    config = _json(name, file, members, f"data/{kind}/model_{kind}_config.json")
    storages: dict[str, torch.Tensor] = {}  # as bytes; several tensors may share one file: tied weights stay tied
    tensors: dict[str, torch.Tensor] = {}
    try:
        for tensor, payload in config["config"].items():
            if payload.get("use_pickle") or payload.get("tensor_meta") is None:
                raise ArtifactError(f"{name}: {kind} '{tensor}' is stored as a pickle, which is never loaded")
            member = f"data/{kind}/{payload['path_name']}"
            if member not in storages:
                storages[member] = _storage(file.read(members[member]))
            tensors[tensor] = _tensor(storages[member], payload["tensor_meta"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ArtifactError(f"{name}: the table of {kind} is broken: {error!r}") from None
    return tensors


def _storage(data: bytes) -> torch.Tensor:
    """The bytes in memory that torch has aligned: vector code takes other paths on other alignments."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).clone() if data else torch.empty(0, dtype=torch.uint8)


def _tensor(storage: torch.Tensor, meta: Mapping[str, Any]) -> torch.Tensor:
    """A strided view of the stored bytes; `ValueError` if it would reach beyond them."""
    dtype = SCALAR_TYPES[meta["dtype"]]
    sizes = [int(size["as_int"]) for size in meta["sizes"]]
    strides = [int(stride["as_int"]) for stride in meta["strides"]]
    offset = int(meta["storage_offset"]["as_int"])
    if min([offset, *sizes, *strides]) < 0 or len(sizes) != len(strides):
        raise ValueError("negative size, stride or offset")
    if 0 in sizes:
        return torch.empty(sizes, dtype=dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if (last + 1) * dtype.itemsize > storage.numel():
        raise ValueError("a tensor reaches beyond its file")
    whole = storage.numel() // dtype.itemsize * dtype.itemsize
    return storage[:whole].view(dtype).as_strided(sizes, strides, offset)
