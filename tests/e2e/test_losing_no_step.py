"""The promise: a lost worker costs no step and no sample. Three workers on digits, killed, scaled, frozen, starved.

Each disturbed run is compared with the undisturbed one: same number of steps, every step's loss once, the same final
parameters (fp64: 1e-8 relative). What a loss costs in the restart budget is looked at too: a kill counts 1, scaling 0.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from laptop import Laptop, laptop
from safetensors.numpy import load_file

EPOCHS, STEPS = 8, 8 * 23  # 1437 digits to train on, 64 a step
OWN = """\
import pathlib, time, torch

PACE = pathlib.Path(__file__).with_name("pace")

class Unhurried(torch.nn.Sequential):
    def forward(self, x):
        if self.training:
            time.sleep(float(PACE.read_text()))
        return super().forward(x)

def build():
    return Unhurried(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
"""


def manifest(
    machine: Laptop,
    *,
    replicas: int = 3,
    minimum: int = 1,
    precision: str = "fp64",
    policy: str = "",
    pause: float = 0.02,
    epochs: int = EPOCHS,
) -> str:
    """Writes a job of `EPOCHS` epochs on digits, each forward pass of which takes `pause` seconds more."""
    (machine.folder / "own.py").write_text(OWN)
    pace(machine, pause)
    (machine.folder / "gang.yaml").write_text(f"""\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {{name: gang}}
spec:
  workers: {{replicas: {replicas}, minReplicas: {minimum}, maxReplicas: 8}}
  model: {{factory: "own:build"}}
  code: {{path: .}}
  data: {{uri: sklearn://digits, split: {{test: 0.2, seed: 7, stratify: true}}, preprocess: [{{standardize: {{}}}}]}}
  fit: {{epochs: {epochs}, batchSize: 64, precision: {precision}, optimizer: {{name: adam, lr: 1.0e-3}}, seed: 7}}
  checkpoint: {{everySteps: 50, keep: 2}}
  evaluate: {{metrics: [accuracy]}}
  runPolicy: {{{policy}}}
""")
    return "gang.yaml"


def pace(machine: Laptop, seconds: float) -> None:
    """From now on each forward pass takes so long: a test holds the training back until what it waits for has come."""
    (machine.folder / "pace.new").write_text(str(seconds))
    (machine.folder / "pace.new").rename(machine.folder / "pace")


@dataclass(frozen=True)
class Trained:
    """What a finished run left behind: parameters by name, and the loss of each step."""

    parameters: dict[str, np.ndarray]
    losses: list[float]


def trained(machine: Laptop) -> Trained:
    run = machine.run_dir("gang")
    final = load_file(run / "checkpoints" / "final.safetensors")
    curve = json.loads((run / "report" / "report.json").read_text())["curve"]
    assert [point["step"] for point in curve] == list(range(1, len(curve) + 1)), "a step is missing or was done twice"
    parameters = {name: array for name, array in final.items() if name.startswith("model/")}
    return Trained(parameters, [point["loss"] for point in curve])


def distance(one: Trained, other: Trained) -> float:
    """The greatest relative distance of two runs' final parameters, against the norm of each tensor."""
    assert one.parameters.keys() == other.parameters.keys()
    pairs = [(array, other.parameters[name]) for name, array in one.parameters.items()]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


def loss_distance(one: Trained, other: Trained) -> float:
    return max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(one.losses, other.losses, strict=True))


def undisturbed(folder: Path, precision: str) -> Trained:
    with laptop(folder) as machine:
        done = machine.ringyard("run", manifest(machine, precision=precision, pause=0.0), "--no-serve")
        assert done.returncode == 0, done.stdout + done.stderr + machine.story()
        return trained(machine)


@pytest.fixture(scope="module")
def calm64(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return undisturbed(tmp_path_factory.mktemp("calm64"), "fp64")


@pytest.fixture(scope="module")
def calm32(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return undisturbed(tmp_path_factory.mktemp("calm32"), "fp32")


def finished(machine: Laptop, process: subprocess.Popen[str]) -> None:
    assert process.wait(timeout=150) == 0, machine.story()
    status = machine.status("gang")
    assert machine.condition("gang", "Succeeded")["status"] == "True"
    assert status["step"] == status["totalSteps"]
    machine.until("no process is left", lambda: not machine.processes(), 20)


@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_a_random_step_loses_no_step(machine: Laptop, calm64: Trained, seed: int) -> None:
    dice = random.Random(seed)
    process = machine.start("run", manifest(machine), "--no-serve")
    machine.until_step("gang", dice.randrange(2, STEPS - 40))
    time.sleep(dice.random() * 0.1)
    victim = dice.randrange(3)
    os.kill(machine.agent("gang", victim)["child_pid"], signal.SIGKILL)
    finished(machine, process)
    assert machine.status("gang")["restarts"]["counted"] == 1
    assert machine.status("gang")["step"] == STEPS
    far = distance(trained(machine), calm64)
    print(f"seed {seed}: worker {victim} killed; final parameters {far:.1e} from the undisturbed run")
    assert far < 1e-8


def test_with_fp32_the_loss_curve_is_the_same_to_rounding(machine: Laptop, calm32: Trained) -> None:
    process = machine.start("run", manifest(machine, precision="fp32"), "--no-serve")
    machine.until_step("gang", 60)
    os.kill(machine.agent("gang", 1)["child_pid"], signal.SIGKILL)
    finished(machine, process)
    far = loss_distance(trained(machine), calm32)
    print(f"fp32: the loss curve is within {far:.1e} of the undisturbed one, relative")
    assert far < 1e-3


def test_scaling_two_to_four_to_three_costs_nothing(machine: Laptop, calm64: Trained) -> None:
    process = machine.start("run", manifest(machine, replicas=2, pause=0.05), "--no-serve")
    machine.until_step("gang", 10)
    pace(machine, 1.0)
    assert machine.ringyard("scale", "gang", "--replicas", "4").returncode == 0
    machine.until("four in the view", lambda: machine.ready("gang") == 4)
    machine.until_step("gang", machine.step("gang") + 3)
    assert machine.ringyard("scale", "gang", "--replicas", "3").returncode == 0
    machine.until("three in the view", lambda: machine.ready("gang") == 3)
    pace(machine, 0.0)
    finished(machine, process)
    assert machine.status("gang")["restarts"]["counted"] == 0
    assert distance(trained(machine), calm64) < 1e-8


def test_a_frozen_worker_leaves_the_view_and_is_restarted_once(machine: Laptop, calm64: Trained) -> None:
    process = machine.start("run", manifest(machine, policy="stallSeconds: 8", pause=0.05), "--no-serve")
    machine.until_step("gang", 10)
    pace(machine, 0.8)
    frozen = machine.agent("gang", 2)["child_pid"]
    os.kill(frozen, signal.SIGSTOP)
    machine.until("the frozen one is out of the view", lambda: machine.ready("gang") == 2)
    machine.until_step("gang", machine.step("gang") + 3)
    machine.until("it was restarted", lambda: machine.agent("gang", 2).get("child_pid") not in (None, 0, frozen))
    machine.until("three in the view again", lambda: machine.ready("gang") == 3)
    pace(machine, 0.0)
    finished(machine, process)
    assert machine.status("gang")["restarts"]["counted"] == 1
    assert distance(trained(machine), calm64) < 1e-8


def test_below_min_replicas_the_job_waits_says_so_and_goes_on(machine: Laptop, calm64: Trained) -> None:
    process = machine.start("run", manifest(machine, minimum=3, pause=0.05), "--no-serve")
    machine.until_step("gang", 20)
    os.kill(machine.agent("gang", 0)["child_pid"], signal.SIGKILL)

    def says_that_it_waits() -> str:
        message = str(machine.condition("gang", "Succeeded").get("message", ""))
        return message if "minReplicas" in message and "2 of 3" in message else ""

    machine.until("it says that it waits", says_that_it_waits)
    finished(machine, process)
    assert machine.status("gang")["restarts"]["counted"] == 1
    assert distance(trained(machine), calm64) < 1e-8


def test_a_killed_supervisor_is_taken_up_by_the_next_run_of_the_same_manifest(machine: Laptop, calm64: Trained) -> None:
    process = machine.start("run", manifest(machine, pause=0.05), "--no-serve")
    machine.until_step("gang", 10)
    pace(machine, 0.5)
    agents = {i: machine.agent("gang", i)["pid"] for i in range(3)}
    process.kill()
    process.wait()
    again = machine.start("run", "gang.yaml", "--no-serve")
    machine.until("the new supervisor leads", lambda: machine.status("gang").get("term", 0) >= 2)
    machine.until_step("gang", machine.step("gang") + 5)
    assert {i: machine.agent("gang", i)["pid"] for i in range(3)} == agents, "living workers are adopted"
    refused = machine.ringyard("run", "gang.yaml", "--no-serve")
    assert refused.returncode == 2 and str(again.pid) in refused.stderr
    pace(machine, 0.0)
    finished(machine, again)
    assert machine.status("gang")["restarts"]["counted"] == 0
    assert distance(trained(machine), calm64) < 1e-8


def test_stop_keeps_a_checkpoint_and_run_goes_on_from_it(machine: Laptop, calm64: Trained) -> None:
    process = machine.start("run", manifest(machine, pause=0.05), "--no-serve")
    reached = machine.until_step("gang", 30)
    assert machine.ringyard("stop", "gang").returncode == 0
    process.wait(timeout=60)
    machine.until("no process is left", lambda: not machine.processes(), 20)
    assert machine.condition("gang", "Suspended")["status"] == "True"
    again = machine.start("run", "gang.yaml", "--no-serve")
    machine.until("it goes on", lambda: machine.ready("gang") == 3)
    assert machine.step("gang") >= reached, "steps before the checkpoint are not done again"
    finished(machine, again)
    assert machine.status("gang")["restarts"]["counted"] == 0
    assert distance(trained(machine), calm64) < 1e-8


def test_the_same_seed_and_worker_count_give_the_same_bits(tmp_path: Path, calm64: Trained) -> None:
    twin = undisturbed(tmp_path, "fp64")
    assert all(np.array_equal(a, calm64.parameters[k]) for k, a in twin.parameters.items())
    assert twin.losses == calm64.losses and all(math.isfinite(x) for x in twin.losses)


def test_a_finished_job_is_not_run_again_and_a_changed_immutable_field_is_refused(machine: Laptop) -> None:
    file = manifest(machine, replicas=1, pause=0.0, epochs=1)
    assert machine.ringyard("run", file, "--no-serve").returncode == 0
    before = machine.status("gang")["completionTime"]
    again = machine.ringyard("run", file, "--no-serve")
    assert again.returncode == 0 and "is not run again" in again.stdout
    assert machine.status("gang")["completionTime"] == before
    (machine.folder / file).write_text((machine.folder / file).read_text().replace("batchSize: 64", "batchSize: 32"))
    changed = machine.ringyard("run", file, "--no-serve")
    assert changed.returncode == 2 and "spec.fit.batchSize" in changed.stderr
