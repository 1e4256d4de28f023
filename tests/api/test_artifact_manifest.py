"""model.json says what an artifact is, comes back as it was written, and is refused where it was tampered with."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from ringyard_api.artifact import (
    PROGRAM,
    ArtifactError,
    ModelManifest,
    TensorSpec,
    digest,
    sha256,
)

MANIFEST = ModelManifest(
    name="digits",
    inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 64)),),
    outputs=(
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
    ),
    labels=tuple(range(10)),
    preprocessing={"steps": []},
    metrics={"accuracy": 0.97},
    files={PROGRAM: sha256(b"program")},
    versions={"torch": "2.15"},
    step=120,
)


def test_a_manifest_comes_back_as_it_was_written_and_its_bytes_are_stable() -> None:
    text = MANIFEST.to_json()
    assert ModelManifest.from_json(text) == MANIFEST
    assert ModelManifest.from_json(text).to_json() == text


def test_labels_may_be_texts() -> None:
    text = MANIFEST.to_json().replace(json.dumps(list(range(10)), indent=2).replace("\n", "\n  "), '["a", "b"]')
    assert ModelManifest.from_json(text).labels == ("a", "b")


def test_the_digest_of_an_artifact_is_that_of_its_manifest() -> None:
    data = MANIFEST.to_json().encode()
    assert digest(data) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert sha256(b"program") == hashlib.sha256(b"program").hexdigest()


def test_fields_of_a_newer_writer_are_passed_over() -> None:
    data = {**json.loads(MANIFEST.to_json()), "flavour": "new"}
    assert ModelManifest.from_json(json.dumps(data)) == MANIFEST


TAMPERED: list[tuple[dict[str, Any], str]] = [
    ({"files": {"../../etc/passwd": "0"}}, "is no plain file name"),
    ({"files": {"model.json": "0"}}, "is no plain file name"),
    ({"format": "pickle"}, "format: must be one of torch.export, safetensors, got 'pickle'"),
    ({"inputs": []}, "inputs: must not be empty"),
    ({"inputs": [{"name": "input", "datatype": "FP31", "shape": [-1, 4]}]}, "inputs[0].datatype: must be one of"),
    ({"files": None}, "files: is missing"),
    ({"schema": "ringyard.model/v9"}, "schema: must be ringyard.model/v1"),
]


@pytest.mark.parametrize(("change", "sentence"), TAMPERED, ids=[row[1] for row in TAMPERED])
def test_what_is_no_manifest_is_refused_with_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        ModelManifest.from_json(json.dumps({**json.loads(MANIFEST.to_json()), **change}))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ArtifactError):
        ModelManifest.from_json(text)
