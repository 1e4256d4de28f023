"""From a manifest to a prediction with nothing but the command line, on the operator that is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kubectl import Kubectl
from storage_claims import Claims
from test_cli_cluster import CommandLine

MANIFEST = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: iris}
spec:
  workers: {replicas: 2, minReplicas: 1, maxReplicas: 3}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [16], classes: 3}}
  data: {uri: "sklearn://iris", split: {test: 0.2, seed: 7, stratify: true}, preprocess: [{standardize: {}}]}
  fit: {epochs: 2000000, batchSize: 16, optimizer: {name: adam, lr: 0.01}, seed: 7}
  evaluate: {metrics: [accuracy]}
  storage: {uri: "pvc://models/runs"}
  serve: {endpoint: flowers}
"""


@pytest.fixture
def ringyard(kubectl: Kubectl, tmp_path: Path, operator: object) -> CommandLine:
    return CommandLine(kubectl, tmp_path)


def test_a_job_is_submitted_scaled_stopped_resumed_and_asked_for_predictions(
    ringyard: CommandLine, kubectl: Kubectl, claim: Callable[[str], str] | Claims
) -> None:
    def done(*words: str, stdin: str = "") -> str:
        answer = ringyard(*words, stdin=stdin)
        assert answer.returncode == 0, f"{words}: {answer.stderr}\n{kubectl.story()}"
        return answer.stdout

    claim("models")
    done("submit", "-", stdin=MANIFEST)
    done("wait", "iris", "--for", "Running", "--timeout", "80")
    assert done("scale", "iris", "--replicas", "1") == "job iris: replicas 2 -> 1\n"
    stopped = done("stop", "iris", "--timeout", "80")
    step = int(stopped.split("stopped at step ")[1].split(";")[0])
    assert step > 0
    assert "it was stopped" in done("status", "iris")

    done("submit", "-", "--name", "brief", "--set", "fit.epochs=20", stdin=MANIFEST)
    done("wait", "brief", "--for", "Succeeded", "--timeout", "80")
    assert "[0] epoch 20  step 160 " in done("logs", "brief", "--worker", "0")
    assert done("endpoints").splitlines()[1].split()[:4] == ["flowers", "Serving", "1", "1"]
    named = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}
    answer = json.loads(done("predict", "flowers", "-o", "json", stdin=json.dumps([[6.3, 3.3, 6.0, 2.5], named])))
    assert (answer["version"], [row["label"] for row in answer["predictions"]]) == ("1", [2, 0])
    wrong = ringyard("predict", "flowers", stdin='[{"sepal": 1}]')
    assert wrong.returncode == 2 and "unknown feature 'sepal'" in wrong.stderr

    done("submit", "-", stdin=MANIFEST)
    done("wait", "iris", "--for", "Running", "--timeout", "80")
    assert json.loads(done("status", "iris", "-o", "json"))["status"]["step"] >= step
    done("delete", "iris")
    done("delete", "brief")
    assert "Serving" in done("endpoints")
    done("endpoint", "delete", "flowers")
    assert not kubectl.all("pods")
