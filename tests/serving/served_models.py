"""Small artifacts for the server's tests, exported by torch as a trainer does it: files first, manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ringyard_api.artifact import MODEL_JSON, PROGRAM, ModelManifest, TensorSpec

FEATURES = 4
CLASSES = 3


class Softmax(torch.nn.Module):
    """An MLP that answers with probabilities and the most probable class."""

    def __init__(self, *, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(inplace=True),
            torch.nn.Linear(16, CLASSES),
        ).to(dtype)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        probabilities = torch.softmax(self.layers(rows), dim=-1)
        return probabilities, probabilities.argmax(dim=-1)


class Constant(torch.nn.Module):
    """Answers with one number, so that a caller sees which version answered."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.register_buffer("number", torch.tensor([number]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :1] * 0 + self.number


class Slow(torch.nn.Module):
    """Takes a tenth of a second or more: a chain of matrix products."""

    def __init__(self, products: int) -> None:
        super().__init__()
        self.products = products
        self.register_buffer("matrix", torch.full((1000, 1000), 1 / 1000))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        work = self.matrix
        for _ in range(self.products):
            work = work @ self.matrix
        return rows[:, :1] * 0 + work[0, 0]


class Lookup(torch.nn.Module):
    """Raises on an index that its table does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 2)

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.table(index)


class Echo(torch.nn.Module):
    """Gives every input back."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors)


def export(module: torch.nn.Module, *samples: torch.Tensor) -> torch.export.ExportedProgram:
    """The program of a module in eval mode, with a free batch dimension."""
    import torch.export

    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    shapes: Any = tuple({0: batch} for _ in samples)
    if isinstance(module, Echo):
        shapes = (shapes,)  # its inputs are one variadic argument
    return torch.export.export(module.eval(), samples, dynamic_shapes=shapes)


def write(
    folder: Path,
    program: torch.export.ExportedProgram,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    **fields: Any,
) -> str:
    """Writes an artifact and returns its digest."""
    import torch.export

    folder.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, folder / PROGRAM)
    return sign(folder, inputs, outputs, **fields)


def sign(folder: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], **fields: Any) -> str:
    """Writes the manifest of what lies in the folder and returns its digest."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != MODEL_JSON
    }
    values: dict[str, Any] = {
        "name": "toy",
        "format": "torch.export",
        "labels": (),
        "preprocessing": None,
        "metrics": {},
        "gate": None,
        "data_digest": "",
        "code_digest": "",
        "versions": {"torch": torch.__version__},
        "job": "toy-1",
        "created": "2026-01-01T00:00:00Z",
        "step": 1,
    }
    manifest = ModelManifest(inputs=tuple(inputs), outputs=tuple(outputs), files=files, **{**values, **fields})
    text = manifest.to_json()
    (folder / MODEL_JSON).write_text(text, encoding="utf-8")
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


ROWS = TensorSpec(name="input", datatype="FP32", shape=(-1, FEATURES))
PROBABILITIES = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES))
LABEL = TensorSpec(name="label", datatype="INT64", shape=(-1,))
NUMBER = TensorSpec(name="prediction", datatype="FP32", shape=(-1, 1))


def softmax(folder: Path, *, seed: int = 1, **fields: Any) -> str:
    """A classifier."""
    outputs = (PROBABILITIES, fields.pop("label", LABEL))
    return write(folder, export(Softmax(seed=seed), torch.zeros(2, FEATURES)), (ROWS,), outputs, **fields)


def constant(folder: Path, number: float) -> str:
    """A model that always answers this number."""
    return write(folder, export(Constant(number), torch.zeros(2, FEATURES)), (ROWS,), (NUMBER,))


def version(number: int, folder: Path, digest: str, weight: int = 100) -> Mapping[str, Any]:
    """An entry of the wanted list."""
    return {"version": str(number), "uri": folder.resolve().as_uri(), "digest": digest, "weight": weight}
