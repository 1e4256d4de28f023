"""A verified artifact made callable: raw features in, predictions out, as its manifest signs for.

Replays the preprocessing that training fitted, runs the exported program, spells class labels. The loader builds one
per version and calls `warm_up` before it is ready; the servicer calls it in a compute thread. It knows no gRPC, no
versions and no weights. Importing it imports torch, so that is done in the loader's thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ringyard_api import preprocess
from ringyard_api.artifact import PROGRAM, ModelManifest

from ringyard_serving.archive import read_archive
from ringyard_serving.errors import ArtifactError, Refusal, Situation
from ringyard_serving.program import Program
from ringyard_serving.signature import Tensor
from ringyard_serving.tensors import NUMPY

Array = NDArray[Any]

_WARM_UP_ROWS = (1, 3)  # a program that was traced for one batch size only shows it here
_WARM_UP_CALLS = 5
_WARM_UP_SECONDS = 0.5  # a slow model has paid its first-call costs after one call


class Predictor:
    """One version's model. Thread safe."""

    def __init__(self, folder: Path, manifest: ModelManifest) -> None:
        """Raises `ArtifactError` if program and manifest do not belong together."""
        self.inputs = _tensors(manifest.inputs)
        self.outputs = _tensors(manifest.outputs)
        self.platform = manifest.format
        self.features = manifest.features
        self._labels = manifest.labels
        if manifest.format != "torch.export":
            raise ArtifactError(
                f"model.json: format {manifest.format} has no program to run; export it with torch.export"
            )
        self._program = Program(read_archive(folder / PROGRAM))
        self._pipeline = _pipeline(manifest)
        self._check()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name for inputs by name, [batch, …] each. What the model raises comes through."""
        arrays = [inputs[tensor.name] for tensor in self.inputs]
        if self._pipeline is not None:
            arrays = [self._prepared(self._pipeline, arrays[0])]
        with torch.inference_mode():
            results = self._program(*(_torch(a, i.dtype) for a, i in zip(arrays, self._program.inputs, strict=True)))
        return {t.name: self._spell(t, r.numpy()) for t, r in zip(self.outputs, results, strict=True)}

    def _prepared(self, pipeline: preprocess.Pipeline, raw: Array) -> Array:
        """Raw features as the program takes them; values that cannot be prepared are the caller's fault."""
        try:
            return pipeline.apply(raw)
        except preprocess.PreprocessError as error:
            raise Refusal(Situation.BAD_REQUEST, f"input '{self.inputs[0].name}': {error}") from None

    def warm_up(self) -> None:
        """Runs zeros through until first-call costs are paid; `ArtifactError` if the answers are not as signed."""
        for rows in _WARM_UP_ROWS:
            zeros = {tensor.name: _zeros(tensor, rows) for tensor in self.inputs}
            started = time.monotonic()
            try:
                for _ in range(_WARM_UP_CALLS):
                    answers = self(zeros)
                    if time.monotonic() - started > _WARM_UP_SECONDS:
                        break
            except Exception as error:  # noqa: BLE001 - whatever an operation raises: the version must not become ready
                raise ArtifactError(f"the model fails on {rows} rows of zeros: {first_line(error)}") from None
            for tensor in self.outputs:
                got = answers[tensor.name].shape
                signed = tuple(rows if place == 0 else size for place, size in enumerate(tensor.shape))
                if len(got) != len(signed) or any(s not in (-1, g) for s, g in zip(signed, got, strict=True)):
                    raise ArtifactError(
                        f"model.json: output '{tensor.name}' is signed as {list(tensor.shape)}, "
                        f"the program answers {list(got)} to {rows} rows"
                    )

    def _check(self) -> None:
        for kind, signed, held in (
            ("inputs", len(self.inputs), len(self._program.inputs)),
            ("outputs", len(self.outputs), self._program.outputs),
        ):
            if signed != held:
                raise ArtifactError(f"model.json: signs {signed} {kind}, the program has {held}")
        if self._pipeline is not None and len(self.inputs) != 1:
            raise ArtifactError(f"model.json: preprocessing needs exactly one input, the model has {len(self.inputs)}")
        for tensor in self.inputs:
            if tensor.datatype == "BYTES" and self._pipeline is None:
                raise ArtifactError(f"model.json: input '{tensor.name}' is BYTES, but there is no preprocessing")
        for tensor in self.outputs:
            if tensor.datatype == "BYTES" and not self._labels:
                raise ArtifactError(f"model.json: output '{tensor.name}' is BYTES, but there are no labels")

    def _spell(self, tensor: Tensor, array: Array) -> Array:
        """Class numbers become their labels where the manifest signs for text."""
        if tensor.datatype != "BYTES":
            return array
        spelt = np.empty(array.shape, dtype=object)
        spelt.reshape(-1)[:] = [str(self._labels[int(number)]).encode() for number in array.reshape(-1)]
        return spelt


def _pipeline(manifest: ModelManifest) -> preprocess.Pipeline | None:
    try:
        return None if manifest.preprocessing is None else preprocess.Pipeline.from_json(manifest.preprocessing)
    except ValueError as error:
        raise ArtifactError(f"model.json: preprocessing: {error}") from None


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a status message."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _tensors(specs: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=spec.name, datatype=spec.datatype, shape=tuple(spec.shape)) for spec in specs)


def _torch(array: Array, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of its own: request bytes are read-only."""
    return torch.tensor(array).to(dtype)


def _zeros(tensor: Tensor, rows: int) -> Array:
    sizes = [rows if place == 0 else max(size, 1) for place, size in enumerate(tensor.shape)]
    if tensor.datatype == "BYTES":
        return np.full(sizes, b"0", dtype=object)
    return np.zeros(sizes, dtype=NUMPY.get(tensor.datatype, NUMPY["FP32"]))
