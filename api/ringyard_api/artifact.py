"""The published model: a folder of files and, written last, `model.json` that names each with its sha256.

The trainer writes it, the server verifies and loads it, the CLI reads its signature. The digest of an artifact is
that of its `model.json`, which holds those of all other files. It opens no file, and nothing of it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from ringyard_api.about import COUNT, About, Bounds
from ringyard_api.decoding import NOTHING, Decoder, encode
from ringyard_api.fields import fields_of

MODEL_JSON: Final = "model.json"
PROGRAM: Final = "model.pt2"
WEIGHTS: Final = "weights.safetensors"

INPUT: Final = "input"  # raw features, before preprocessing
PROBABILITIES: Final = "probabilities"
LABEL: Final = "label"
PREDICTION: Final = "prediction"

Format = Literal["torch.export", "safetensors"]
Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]


class ArtifactError(ValueError):
    """A model.json that is none; one sentence."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One tensor of the signature, in the words of the Open Inference Protocol v2."""

    name: Annotated[str, About("Name.", Bounds(shortest=1))]
    datatype: Annotated[Datatype, About("Type of its numbers.")]
    shape: Annotated[
        tuple[int, ...], About("Sizes; -1 is any, the first is the batch.", Bounds(shortest=1, longest=16))
    ]


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """What `model.json` holds.

    Attributes:
        labels: the label of each class in the order of `probabilities`; empty where numbers are predicted.
        preprocessing: a `preprocess.Pipeline` as plain data, None where raw features go into the program as they are.
        gate: a `gate.GateResult` as plain data, None without a gate.
        files: sha256 (hexadecimal) of every other file of the folder, by its plain name.
    """

    schema: Annotated[Literal["ringyard.model/v1"], About("Layout of this file.")] = "ringyard.model/v1"
    name: Annotated[str, About("Name of the model.", Bounds(shortest=1))]
    format: Annotated[Format, About("How the model is stored.")] = "torch.export"
    inputs: Annotated[tuple[TensorSpec, ...], About("What is asked: raw features.", Bounds(shortest=1, longest=64))]
    outputs: Annotated[tuple[TensorSpec, ...], About("What is answered.", Bounds(shortest=1, longest=64))]
    labels: Annotated[tuple[int | str, ...], About("The classes.", Bounds(longest=100_000))] = ()
    features: Annotated[tuple[str, ...], About("Names of the raw features in order.", Bounds(longest=4096))] = ()
    preprocessing: Annotated[Mapping[str, Any] | None, About("The fitted pipeline.")] = None
    metrics: Annotated[Mapping[str, float], About("Quality metrics.")] = field(default_factory=dict)
    gate: Annotated[Mapping[str, Any] | None, About("The gate's answer.")] = None
    files: Annotated[Mapping[str, str], About("sha256 of each other file.")]
    data_digest: Annotated[str, About("sha256 of the data that it was trained on.")] = ""
    code_digest: Annotated[str, About("sha256 of the user's code.")] = ""
    versions: Annotated[Mapping[str, str], About("Versions of what made it: ringyard, torch, python.")] = field(
        default_factory=dict
    )
    job: Annotated[str, About("TrainingJob that made it.")] = ""
    created: Annotated[str, About("When, RFC 3339.")] = ""
    step: Annotated[int, About("Optimizer updates behind these parameters.", COUNT)] = 0

    def to_json(self) -> str:
        """The text of `model.json`; the same manifest gives the same bytes."""
        return json.dumps(encode(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelManifest:
        """Reads it back. Raises ArtifactError; fields of a newer writer are passed over."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{MODEL_JSON} is no JSON: {error}") from None
        if not isinstance(data, dict):
            raise ArtifactError(f"{MODEL_JSON} is not a mapping")
        known = {each.name for each in fields_of(cls)}
        decoder = Decoder()
        manifest = decoder.instance(cls, {name: each for name, each in data.items() if name in known}, "")
        problems = [str(problem) for problem in decoder.problems]
        if manifest is not NOTHING:
            problems += [f"files: {name!r} is no plain file name" for name in manifest.files if not _plain(name)]
        if problems:
            raise ArtifactError(f"{MODEL_JSON}: " + "; ".join(problems))
        checked: ModelManifest = manifest
        return checked


def _plain(name: str) -> bool:
    return bool(name) and name not in (".", "..", MODEL_JSON) and not set(name) & {"/", "\\", "\0"}


def to_json(manifest: ModelManifest) -> str:
    """The text of `model.json`."""
    return manifest.to_json()


def from_json(text: str | bytes) -> ModelManifest:
    """Reads `model.json`. Raises ArtifactError."""
    return ModelManifest.from_json(text)


def script_result(manifest: bytes | None, uri: str) -> dict[str, Any]:
    """What a script that ended with 0 has left, in the shape of result.json; `manifest`: its `model.json`, None where
    there is none. What cannot be read is no model.
    """
    try:
        data = json.loads(manifest) if manifest is not None else None
    except ValueError:
        data = None
    if manifest is None or not isinstance(data, dict):
        return {"metrics": {}, "gate": None, "model": None}
    metrics = data.get("metrics")
    return {
        "metrics": metrics if isinstance(metrics, dict) else {},
        "gate": None,
        "model": {"uri": uri, "digest": digest(manifest)},
    }


def sha256(data: bytes) -> str:
    """Digest of a file's bytes as `ModelManifest.files` holds it: 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(manifest: bytes) -> str:
    """Digest of an artifact: of the bytes of its `model.json`, as `sha256:…`."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
