"""Writes the trained model as an artifact: an exported program and, last, the manifest that names and hashes it.

Called by `finish`. The program takes the preprocessed features as float32 (batch, columns) and gives what a client
sees: `probabilities` and `label` of a classification, `prediction` of a regression. `label` is the class itself where
classes are whole numbers, and its number in `labels` where they are text (the signature then says BYTES, and the server
puts the text in). Weights lie in
the program as raw bytes; no member of the archive is a pickle. It knows no server.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ringyard_trainer import checkpoint
from ringyard_trainer.dataset import Dataset
from ringyard_trainer.errors import BadInput


class Classifier(torch.nn.Module):
    """Logits to probabilities and the label of the largest."""

    values: torch.Tensor

    def __init__(self, model: torch.nn.Module, values: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.register_buffer("values", values)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows float32 (batch, columns) to float32 (batch, classes) and int64 (batch,)."""
        logits = self.model(rows.to(self.dtype))[:, : len(self.values)]
        return torch.softmax(logits, -1).to(torch.float32), self.values[logits.argmax(-1)]


class Regressor(torch.nn.Module):
    """Predictions as float32 (batch, outputs)."""

    def __init__(self, model: torch.nn.Module, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs
        self.dtype = dtype

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows float32 (batch, columns) to float32 (batch, outputs)."""
        return self.model(rows.to(self.dtype)).reshape(-1, self.outputs).to(torch.float32)  # type: ignore[no-any-return]


def program(model: torch.nn.Module, data: Dataset) -> bytes:
    """The exported program, any batch size.

    Raises:
        BadInput: torch.export cannot follow the user's forward.
    """
    dtype = data.inputs.dtype
    whole: torch.nn.Module
    if data.classes:
        numbers = [value if isinstance(value, int) else number for number, value in enumerate(data.labels)]
        whole = Classifier(model, torch.tensor(numbers, dtype=torch.int64), dtype)
    else:
        whole = Regressor(model, data.targets.shape[1], dtype)
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    rows = data.inputs[:1].to(torch.float32).repeat(3, 1)  # neither 0 nor 1 row: export would take those as fixed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            batch = torch.export.Dim("batch")
            exported = torch.export.export(whole.eval(), (rows,), dynamic_shapes=({0: batch},))
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadInput("spec.model.factory", f"torch.export cannot follow the model's forward: {first}") from error
        exported._example_inputs = None  # it would be stored as a pickle
        held = io.BytesIO()
        torch.export.save(exported, held)
    return held.getvalue()


def code_digest(code_path: str | None) -> str:
    """Of the user's Python files by path and content; "" without any. Hidden folders (.venv, .git) are not theirs."""
    if code_path is None:
        return ""
    seen = hashlib.sha256()
    for folder, below, names in os.walk(code_path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in sorted(Path(folder, name) for name in names if name.endswith(".py")):
            seen.update(str(path.relative_to(code_path)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{seen.hexdigest()}"


def versions() -> Mapping[str, str]:
    """What made the model."""
    ours = importlib.metadata.version("ringyard")
    python = platform.python_version()
    return {"ringyard": ours, "python": python, "torch": torch.__version__, "numpy": np.__version__}


def store(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files in their order, each whole or not at all; the last is the one that makes it an artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o755)
    for name, data in files.items():
        checkpoint.replace(folder / name, data)
