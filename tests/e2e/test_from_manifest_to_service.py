"""One manifest to a service, and its successor: a second job takes over while a Triton client never pauses.

On the way the metrics of supervisor, workers and server are scraped and held against `docs/metrics.md`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from laptop import Laptop

ROOT = Path(__file__).resolve().parents[2]
PROBE = ROOT / "tests" / "serving" / "triton_probe.py"
DOCUMENTED = set(re.findall(r"`(ringyard_[a-z_]+)", (ROOT / "docs" / "metrics.md").read_text()))
IRIS = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: NAME}
spec:
  workers: {replicas: 2}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [16], classes: 3}}
  data: {uri: "sklearn://iris", split: {test: 0.2, seed: 7, stratify: true}, preprocess: [{standardize: {}}]}
  fit: {epochs: EPOCHS, batchSize: 16, optimizer: {name: adam, lr: 0.01}}
  evaluate: {metrics: [accuracy], gate: [{metric: accuracy, atLeast: 0.6}]}
  serve: {endpoint: flowers}
"""


def iris(machine: Laptop, name: str, epochs: int) -> str:
    (machine.folder / f"{name}.yaml").write_text(IRIS.replace("NAME", name).replace("EPOCHS", str(epochs)))
    return f"{name}.yaml"


def scraped(targets: Path) -> dict[str, set[str]]:
    """Names of our own metrics by role, as a Prometheus with this `file_sd` list would see them."""
    found = {}
    for group in json.loads(targets.read_text()):
        with urllib.request.urlopen(f"http://{group['targets'][0]}/metrics", timeout=10) as answer:
            names = re.findall(r"^# TYPE (ringyard_[a-z_]+)", answer.read().decode(), flags=re.MULTILINE)
        found[group["labels"]["role"] + group["labels"].get("worker", "")] = set(names)
    return found


def published(machine: Laptop, name: str) -> None:
    machine.until(f"{name} is published", lambda: machine.condition(name, "Published").get("status") == "True")


def check_documented(by_role: dict[str, set[str]], roles: set[str]) -> None:
    assert by_role.keys() == roles
    for role, names in by_role.items():
        ours = {name for name in names if not name.endswith("_created")}  # prometheus_client's own, one a counter
        assert ours and ours <= DOCUMENTED, role


def test_a_second_job_takes_the_endpoint_over_without_a_failed_request(machine: Laptop) -> None:
    first = machine.start("run", iris(machine, "first", 400))
    machine.until_step("first", 20)
    check_documented(scraped(machine.job("first") / "targets.json"), {"supervisor", "worker0", "worker1"})
    published(machine, "first")
    check_documented(scraped(machine.state / "endpoints" / "flowers" / "targets.json"), {"server"})

    listed = json.loads(machine.ringyard("endpoints", "-o", "json").stdout)["items"]
    (endpoint,) = [item for item in listed if item["metadata"]["name"] == "flowers"]
    url = endpoint["status"]["url"].removeprefix("grpc://")
    probe = subprocess.Popen(
        [sys.executable, PROBE, url, "flowers", "1", "label"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert probe.stdout is not None and probe.stdout.readline() == "running\n"
        second = machine.ringyard("run", iris(machine, "second", 5), "--detach")
        assert second.returncode == 0, second.stderr
        published(machine, "second")
        assert machine.status("second")["endpoint"]["version"] == "2"
        asked = machine.ringyard("predict", "flowers", "-o", "json", stdin="[[5.1, 3.5, 1.4, 0.2]]")
        assert asked.returncode == 0 and json.loads(asked.stdout)["version"] == "2", asked.stdout + asked.stderr
        tally = json.loads(probe.communicate(timeout=60)[0])
    finally:
        probe.kill()
        probe.wait()
    versions = {answer.split("/")[1] for answer in tally["answers"]}
    print(f"{sum(tally['answers'].values())} answers by versions {sorted(versions)}, {len(tally['failures'])} failures")
    assert tally["failures"] == [] and versions == {"1", "2"}

    assert machine.ringyard("delete", "second").returncode == 0
    assert machine.ringyard("endpoint", "delete", "flowers").returncode == 0
    first.wait(timeout=60)
    machine.until("no process is left", lambda: not machine.processes(), 30)
