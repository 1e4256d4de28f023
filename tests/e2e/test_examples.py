"""Every example is run to its end through the command line; digits by `make demo`, on-cluster by tests/cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ringyard_api.loading import load_job

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RUN_HERE = ("minimal.yaml", "regression.yaml", "own-model/job.yaml", "csv/job.yaml", "own-script/job.yaml")


def run(example: str, state: Path) -> subprocess.CompletedProcess[str]:
    """`ringyard run EXAMPLE --no-serve`, from the checkout's root as README does."""
    return subprocess.run(
        [Path(sys.executable).parent / "ringyard", "run", f"examples/{example}", "--no-serve", "--state-dir", state],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_every_example_is_run_by_the_suite() -> None:
    manifests = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml")}
    assert manifests == {*RUN_HERE, "digits.yaml", "on-cluster/iris.yaml"}


def test_the_minimal_example_has_at_most_twelve_lines() -> None:
    assert len((EXAMPLES / "minimal.yaml").read_text().splitlines()) <= 12


@pytest.mark.parametrize("example", RUN_HERE)
def test_an_example_trains_to_its_end_and_reaches_its_gate(example: str, tmp_path: Path) -> None:
    job = load_job((EXAMPLES / example).read_text(), example)
    done = run(example, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    folder = tmp_path / "jobs" / job.metadata.name
    status = json.loads((folder / "status.json").read_text())
    (run_dir,) = (folder / "storage").iterdir()
    if job.spec.command:
        assert (run_dir / "model" / "weights.pt").exists()
        return
    assert status["step"] == status["totalSteps"] or json.loads((run_dir / "result.json").read_text())["stoppedEarly"]
    assert (run_dir / "model" / "model.json").exists()
    gates = job.spec.evaluate.gate if job.spec.evaluate else ()
    assert all(status["model"]["metrics"][gate.metric] >= (gate.at_least or 0.0) for gate in gates)
