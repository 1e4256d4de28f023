"""The whole path by the command line alone: train, gate, serve, ask, end. The model server is the real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

RINGYARD = Path(sys.executable).parent / "ringyard"
MANIFEST = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: flowers}
spec:
  workers: {replicas: 2}
  model: {factory: "ringyard_trainer.models:linear", args: {classes: 2}}
  data:
    uri: flowers.csv
    label: kind
    split: {test: 0.25, seed: 1}
  fit: {steps: 60, batchSize: 16, optimizer: {name: adamw, lr: 0.1}, loss: crossEntropy}
  evaluate: {gate: [{metric: accuracy, atLeast: 0.9}]}
  serve: {endpoint: garden}
"""


class Line:
    """`ringyard` with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "RINGYARD_STATE_DIR": str(folder / "state"), "OMP_NUM_THREADS": "1"}
        self.manifest = folder / "flowers.yaml"
        self.manifest.write_text(MANIFEST)
        rows = [
            f"{wide + at % 7 / 10},{long},{kind}" for at in range(32) for wide, long, kind in ((1, 2, "a"), (4, 1, "b"))
        ]
        (folder / "flowers.csv").write_text("wide,long,kind\n" + "\n".join(rows) + "\n")

    def call(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RINGYARD), *words], input=stdin, capture_output=True, text=True, env=self.environment, timeout=120
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(RINGYARD), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )


def until_served(run: subprocess.Popen[str]) -> list[str]:
    """What it prints up to the predict command that it gives as an example."""
    assert run.stdout is not None
    said = []
    for text in run.stdout:
        said.append(text.rstrip("\n"))
        if "| ringyard predict" in text or "--input rows.json" in text:
            break
    return said


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, list[str]]]:
    """A job that has trained and serves, with what it printed; ends with Ctrl-C and exit 0."""
    line = Line(tmp_path_factory.mktemp("serves"))
    run = line.start("run", str(line.manifest))
    said = until_served(run)
    yield line, said
    run.send_signal(signal.SIGINT)
    rest, trouble = run.communicate(timeout=60)
    assert (run.returncode, trouble) == (0, ""), said
    assert "stopping: the model server answers the requests that it has, and ends" in rest


def test_after_publishing_the_url_and_a_predict_command_that_works_are_said(served: tuple[Line, list[str]]) -> None:
    line, said = served
    assert any(text.startswith("serving garden version 1 at ") for text in said)
    example = said[-1].strip().replace("ringyard", str(RINGYARD))
    asked = subprocess.run(["bash", "-c", example], capture_output=True, text=True, env=line.environment, timeout=60)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.split()[:2] == ["LABEL", "PROBABILITY"]


def test_rows_are_predicted_as_lists_by_name_and_as_lines(served: tuple[Line, list[str]]) -> None:
    line, _ = served
    answer = json.loads(line.call("predict", "garden", "-o", "json", stdin="[[1, 2], [4.2, 1]]").stdout)
    assert (answer["model"], answer["version"]) == ("garden", "1")
    assert [row["label"] for row in answer["predictions"]] == ["a", "b"]
    assert all(len(row["probabilities"]) == 2 for row in answer["predictions"])
    by_name = '{"long": 2, "wide": 1}\n{"wide": 4.2, "long": 1}\n'
    assert json.loads(line.call("predict", "garden", "-o", "json", stdin=by_name).stdout) == answer
    many = json.dumps([[1, 2]] * 600)
    assert len(json.loads(line.call("predict", "garden", "-o", "json", stdin=many).stdout)["predictions"]) == 600


@pytest.mark.parametrize(
    ("words", "rows", "sentence", "code"),
    [
        ([], "[[1, 2, 3]]", "row 1 has 3 values, the model takes 2 features", 2),
        ([], '[{"wide": 1, "lang": 2}]', "unknown feature 'lang', did you mean 'long'", 2),
        ([], '[[1, "x"]]', "'x' is not a number", 2),
        ([], "wide,long\n1,2", "the rows are not JSON", 2),
        (["--input", "/nowhere.json"], "", "/nowhere.json: No such file", 2),
        (["--version", "7"], "[[1, 2]]", "version 7", 3),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence(
    served: tuple[Line, list[str]], words: list[str], rows: str, sentence: str, code: int
) -> None:
    done = served[0].call("predict", "garden", *words, stdin=rows)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert sentence in done.stderr


def test_what_serves_is_listed_with_its_url(served: tuple[Line, list[str]]) -> None:
    line, _ = served
    (shown,) = json.loads(line.call("endpoints", "-o", "json").stdout)["items"]
    assert (shown["kind"], shown["metadata"]["name"]) == ("ModelEndpoint", "garden")
    row = line.call("endpoints").stdout.splitlines()[1].split()
    assert row == ["garden", "Serving", "1", "1", shown["status"]["url"]]


def test_without_serving_it_ends_after_the_gate_and_the_next_run_serves_without_training(tmp_path: Path) -> None:
    line = Line(tmp_path)
    done = line.call("run", str(line.manifest), "--no-serve", "--set", "workers.replicas=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(line.call("endpoints", "-o", "json").stdout)["items"] == []
    again = line.start("run", str(line.manifest))
    said = until_served(again)
    assert "has already succeeded and is not run again" in said[0]
    assert "serving garden version 1" in said[-2]
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 0
    for program in tmp_path.rglob("model.pt2"):  # the run's own, and the server's copy of it
        program.chmod(0o644)
        program.write_bytes(program.read_bytes() + b"tampered")
    spoilt = line.call("run", str(line.manifest))
    assert (spoilt.returncode, "cannot serve version 1: " in spoilt.stderr) == (1, True), spoilt.stdout


def test_a_missed_gate_is_exit_1_and_serves_nothing(tmp_path: Path) -> None:
    line = Line(tmp_path)
    missed = line.call(
        "run",
        str(line.manifest),
        "--name",
        "strict",
        "--set",
        "evaluate.gate[0]={metric: loss, atMost: -1}",
        "--set",
        "workers.replicas=1",
    )
    assert missed.returncode == 1
    assert "loss" in missed.stderr and "-1" in missed.stderr
    reasons = {
        each["type"]: each["reason"]
        for each in json.loads(line.call("status", "strict", "-o", "json").stdout)["status"]["conditions"]
    }
    assert reasons["Failed"] == "GateNotReached"
    assert line.call("endpoints", "-o", "json").stdout.count('"name": "garden"') == 0


def test_a_port_that_is_taken_is_said_before_the_training(tmp_path: Path) -> None:
    line = Line(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        for how in ((), ("--detach",)):
            done = line.call("run", str(line.manifest), "--set", f"serve.port={port}", *how)
            assert (done.returncode, f"port {port}" in done.stderr) == (2, True)


def test_an_endpoint_outlives_its_job_until_it_is_deleted(tmp_path: Path) -> None:
    line = Line(tmp_path)
    assert line.call("run", str(line.manifest), "--detach").returncode == 0
    assert line.call("wait", "flowers", "--for", "Published", "--timeout", "90").returncode == 0
    assert line.call("delete", "flowers").returncode == 0
    assert line.call("predict", "garden", stdin="[[1, 2]]").stdout.splitlines()[1].startswith("a ")
    assert list(tmp_path.glob("state/jobs/flowers/storage/*/model")), "it stays as long as it is served"
    assert line.call("endpoint", "delete", "garden").returncode == 0
    assert list(tmp_path.glob("state/jobs/*")) == []
    gone = line.call("predict", "garden", stdin="[[1, 2]]")
    assert (gone.returncode, "no endpoint 'garden'" in gone.stderr) == (3, True)
