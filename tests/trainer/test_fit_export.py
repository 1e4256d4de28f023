"""The artifact: a program that computes what the trained model does, for any batch, with nothing pickled in it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from gang_in_threads import MANIFEST, train
from ringyard_api.artifact import ModelManifest
from ringyard_api.preprocess import Pipeline
from ringyard_trainer.export import code_digest

CSV = """
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {{name: colours}}
spec:
  model: {{factory: "ringyard_trainer.models:mlp", args: {{hidden: [4]}}}}
  data:
    uri: {path}
    label: mood
    split: {{test: 0.25}}
    preprocess: [{{oneHot: {{columns: [colour]}}}}]
  fit: {{steps: 5, batchSize: 8}}
  evaluate: {{metrics: [accuracy], gate: [{{metric: accuracy, atLeast: 1.1}}]}}
"""


def test_the_program_gives_the_models_probabilities_and_labels_for_any_batch(tmp_path: Path) -> None:
    (member,) = train(1, tmp_path, MANIFEST)
    raw = (tmp_path / "model" / "model.pt2").read_bytes()
    text = (tmp_path / "model" / "model.json").read_bytes()
    manifest = ModelManifest.from_json(text)
    assert manifest.files == {"model.pt2": hashlib.sha256(raw).hexdigest()}
    result = json.loads((tmp_path / "result.json").read_text())["model"]
    assert result == {"uri": f"file://{tmp_path}/model", "digest": f"sha256:{hashlib.sha256(text).hexdigest()}"}
    assert [(each.name, each.datatype, each.shape) for each in (*manifest.inputs, *manifest.outputs)] == [
        ("input", "FP32", (-1, 64)), ("probabilities", "FP32", (-1, 10)), ("label", "INT64", (-1,))
    ]  # fmt: skip
    assert manifest.preprocessing is not None
    program = torch.export.load(io.BytesIO(raw)).module()
    model = member.fit.state.model.eval()
    for rows in (1, 2, 7):
        inputs = member.fit.data.inputs[:rows]
        replayed = Pipeline.from_json(manifest.preprocessing).apply(_digits(rows))
        np.testing.assert_allclose(replayed, inputs.numpy(), rtol=1e-12)
        probabilities, label = program(inputs.to(torch.float32))
        wanted = torch.softmax(model(inputs), -1)
        assert label.dtype == torch.int64 and label.tolist() == wanted.argmax(-1).tolist()
        np.testing.assert_allclose(probabilities.numpy(), wanted.detach().numpy(), atol=1e-6)


def test_no_member_of_the_program_is_a_pickle(tmp_path: Path) -> None:
    train(1, tmp_path, MANIFEST)
    with zipfile.ZipFile(tmp_path / "model" / "model.pt2") as archive:
        for name in archive.namelist():
            head = archive.read(name)[:2]
            assert head[:1] != b"\x80" and head != b"PK", f"{name} looks like a pickle"


def test_text_classes_and_text_features_are_signed_for_as_text_and_a_missed_gate_is_written_down(
    tmp_path: Path,
) -> None:
    rows = "".join(f"{('red', 'blue', 'green')[n % 3]},{n},{('calm', 'wild')[n % 2]}\n" for n in range(24))
    (tmp_path / "t.csv").write_text(f"colour,size,mood\n{rows}")
    train(2, tmp_path / "run", CSV.format(path=tmp_path / "t.csv"))
    manifest = ModelManifest.from_json((tmp_path / "run" / "model" / "model.json").read_text())
    assert (manifest.labels, manifest.features) == (("calm", "wild"), ("colour", "size"))
    assert manifest.inputs[0].datatype == "BYTES" and manifest.outputs[1].datatype == "BYTES"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["gate"]["passed"] is False and "is below 1.1" in result["gate"]["message"]
    assert set(result["metrics"]) == {"accuracy", "loss"}


def test_whole_number_classes_that_do_not_begin_at_zero_come_out_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.eye(20), y=np.repeat([3, 7], 10))
    changed = CSV.replace("{path}", str(tmp_path / "t.npz")).replace("mood", "y").replace("[colour]", "[x.0]")
    train(1, tmp_path / "run", changed.format())
    program = torch.export.load(io.BytesIO((tmp_path / "run" / "model" / "model.pt2").read_bytes())).module()
    width = json.loads((tmp_path / "run" / "model" / "model.json").read_text())["preprocessing"]["names"][-1]
    _, label = program(torch.zeros(4, len(width)))
    assert set(label.tolist()) <= {3, 7}


def _digits(rows: int) -> np.ndarray:  # type: ignore[type-arg]
    from sklearn.datasets import load_digits

    return load_digits().data[:rows]  # type: ignore[no-any-return]


def test_the_digest_of_the_code_follows_its_files_and_leaves_a_venv_beside_them_alone(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "model.py").write_text("width = 3\n")
    (tmp_path / "layers" / "wide.py").write_text("")
    first = code_digest(str(tmp_path))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "torch.py").write_text("not the user's\n")
    assert code_digest(str(tmp_path)) == first
    (tmp_path / "layers" / "wide.py").write_text("width = 4\n")
    assert code_digest(str(tmp_path)) != first
    assert code_digest(None) == ""
