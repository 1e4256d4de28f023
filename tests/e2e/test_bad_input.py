"""Bad input of every kind gets one clear sentence that names the place and the remedy, and a fitting exit code.

The rows that only the workers can see (data, model, user code) run a real job with one worker to its end.
"""

from __future__ import annotations

import json
import resource
import socket

import pytest
from laptop import Laptop

HEAD = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: bad}
spec:
  workers: {replicas: 1}
"""
MODEL = '  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [8], classes: 3}}\n'
DATA = "  data: {uri: sklearn://iris, split: {test: 0.2, seed: 7, stratify: true}}\n"
FIT = "  fit: {epochs: 1, batchSize: 32, optimizer: {name: sgd, lr: 0.1}, loss: crossEntropy}\n"
CSV = "  data: {uri: table.csv, features: [a, b], label: y, split: {test: 0.25, seed: 7, stratify: true}}\n"
GOOD_ROWS = "a,b,y\n" + "".join(f"{i}.5,{i % 3}.0,{i % 3}\n" for i in range(24))


def manifest(machine: Laptop, text: str, name: str = "bad.yaml") -> str:
    (machine.folder / name).write_text(text)
    return name


ONE_WORKER = HEAD + MODEL + DATA + FIT
GATE = "  evaluate: {metrics: [accuracy], gate: [{metric: accuracy, atLeast: %s}]}\n"
AT_THE_DOOR = {
    "an unknown field": (ONE_WORKER.replace("replicas: 1", "replcas: 1"), "spec.workers.replcas", "replicas"),
    "a wrong type": (ONE_WORKER.replace("replicas: 1", "replicas: many"), "spec.workers.replicas", "integer"),
    "out of range": (ONE_WORKER.replace("replicas: 1", "replicas: 0"), "spec.workers.replicas", "at least 1, got 0"),
    "empty file": ("", "empty", ""),
    "two documents": (ONE_WORKER + "---\n" + ONE_WORKER, "document", "one"),
    "not YAML": ("kind: [TrainingJob\nspec: }\n", "line", "column"),
    "model and command at once": (ONE_WORKER + "  command: [python, train.py]\n", "command", "model"),
    "a gate without a part to judge it on": (
        HEAD + MODEL + "  data: {uri: sklearn://iris}\n" + FIT + GATE % 0.9,
        "gate",
        "split",
    ),
    "not supported yet": (
        ONE_WORKER.replace("epochs: 1", "epochs: 1, precision: bf16"),
        "precision",
        "not supported yet",
    ),
}


@pytest.mark.parametrize("row", AT_THE_DOOR)
def test_refused_at_the_door(machine: Laptop, row: str) -> None:
    text, place, words = AT_THE_DOOR[row]
    file = manifest(machine, text)
    for command in (("validate", file), ("run", file, "--no-serve")):
        done = machine.ringyard(*command)
        assert done.returncode == 2, done.stderr
        assert place in done.stderr and words in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    assert not machine.processes()


def test_all_errors_of_a_file_are_told_at_once(machine: Laptop) -> None:
    text = ONE_WORKER
    for right, wrong in (("replicas: 1", "replicas: 0"), ("epochs: 1", "epoch: 1"), ("lr: 0.1", "lr: -1")):
        text = text.replace(right, wrong)
    done = machine.ringyard("validate", manifest(machine, text))
    assert done.returncode == 2
    for path in ("spec.workers.replicas", "spec.fit.epoch", "spec.fit.optimizer.lr"):
        assert path in done.stderr


def test_a_missing_data_file_is_named_before_anything_starts(machine: Laptop) -> None:
    done = machine.ringyard("run", manifest(machine, HEAD + MODEL + CSV + FIT), "--no-serve")
    assert done.returncode == 2 and "spec.data.uri" in done.stderr and "table.csv" in done.stderr
    assert not machine.processes()


def test_a_missing_manifest_is_named(machine: Laptop) -> None:
    done = machine.ringyard("run", "nowhere.yaml")
    assert done.returncode == 2 and "nowhere.yaml" in done.stderr and "Traceback" not in done.stderr


GHOST = [
    "status ghost",
    "logs ghost",
    "scale ghost --replicas 2",
    "stop ghost",
    "delete ghost",
    "endpoint delete ghost",
]


@pytest.mark.parametrize("words", [*GHOST, "wait ghost --for Succeeded"])
def test_no_such_job_is_exit_3(machine: Laptop, words: str) -> None:
    done = machine.ringyard(*words.split())
    assert done.returncode == 3 and "ghost" in done.stderr


def test_a_state_folder_that_cannot_be_written(machine: Laptop) -> None:
    machine.state.write_text("a file where the folder should be")
    done = machine.ringyard("run", manifest(machine, HEAD + MODEL + DATA + FIT), "--no-serve")
    assert done.returncode == 2 and str(machine.state) in done.stderr and "Traceback" not in done.stderr


OWN = '  model: {factory: "own:build", args: {}}\n  code: {path: .}\n'
RAISES = "def build():\n    raise ValueError('no such width')\n"
TOO_WIDE = "import torch\n\ndef build():\n    return torch.nn.Linear(7, 3)\n"
IN_THE_WORKER: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "CSV without the label column": (
        MODEL + CSV,
        {"table.csv": GOOD_ROWS.replace("a,b,y", "a,b,z")},
        ("spec.data.label", "y"),
    ),
    "a feature that is no number": (
        MODEL + CSV,
        {"table.csv": GOOD_ROWS.replace("3.5,0.0", "red,0.0")},
        ("spec.data.features", "a", "oneHot"),
    ),
    "a row with NaN": (MODEL + CSV, {"table.csv": GOOD_ROWS.replace("3.5,0.0", ",0.0")}, ("spec.data", "impute")),
    "a class with one sample": (MODEL + CSV, {"table.csv": GOOD_ROWS + "1.0,2.0,9\n"}, ("stratify", "9")),
    "a factory that cannot be imported": (OWN + DATA, {}, ("spec.model.factory", "own")),
    "a factory that raises": (OWN + DATA, {"own.py": RAISES}, ("spec.model.factory", "no such width")),
    "a factory that returns no module": (
        OWN + DATA,
        {"own.py": "def build():\n    return 7\n"},
        ("spec.model.factory", "int"),
    ),
    "a model that does not fit the data": (OWN + DATA, {"own.py": TOO_WIDE}, ("spec.model", "4")),
    "a loss that is no longer finite": (MODEL + DATA, {}, ("nan", "step", "spec.fit.optimizer.lr")),
}


@pytest.mark.parametrize("row", IN_THE_WORKER)
def test_refused_by_the_worker(machine: Laptop, row: str) -> None:
    middle, files, words = IN_THE_WORKER[row]
    for name, text in files.items():
        (machine.folder / name).write_text(text)
    fit = FIT.replace("lr: 0.1", "lr: 1.0e+38").replace("epochs: 1", "epochs: 9") if "finite" in row else FIT
    done = machine.ringyard("run", manifest(machine, HEAD + middle + fit), "--no-serve")
    assert done.returncode == 1, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} not in:\n{done.stderr}\n{done.stdout}\n{machine.story()}"
    assert "Traceback" not in done.stderr + done.stdout
    assert machine.condition("bad", "Failed")["status"] == "True"
    assert not machine.processes()


def test_user_code_that_calls_sys_exit_3_is_a_permanent_failure_with_that_code(machine: Laptop) -> None:
    (machine.folder / "train.py").write_text("import sys\nprint('the cupboard is bare')\nsys.exit(3)\n")
    script = HEAD + "  command: [python, train.py]\n  code: {path: .}\n"
    done = machine.ringyard("run", manifest(machine, script), "--no-serve")
    assert done.returncode == 1
    failed = machine.condition("bad", "Failed")
    assert failed["status"] == "True" and "3" in failed["message"] and "the cupboard is bare" in failed["message"]
    assert machine.status("bad").get("restarts", {}).get("counted", 0) == 0


def test_a_gate_that_is_not_reached_keeps_the_model_and_serves_nothing(machine: Laptop) -> None:
    text = ONE_WORKER + GATE % 0.999 + "  serve: {endpoint: never}\n"
    done = machine.ringyard("run", manifest(machine, text))
    assert done.returncode == 1 and "accuracy" in done.stderr and "0.999" in done.stderr
    assert machine.condition("bad", "Failed")["reason"] == "GateNotReached"
    assert (machine.run_dir("bad") / "model" / "model.json").exists()
    assert not (machine.state / "endpoints" / "never" / "spec.json").exists()
    assert not machine.processes()


def test_a_worker_that_runs_out_of_memory_is_restarted_and_counted(machine: Laptop) -> None:
    (machine.folder / "own.py").write_text(
        "import os, pathlib, torch\n\n"
        "class Once(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        flag = pathlib.Path(__file__).with_name('tried')\n"
        "        if os.environ.get('RINGYARD_WORKER_INDEX') and not flag.exists():\n"
        "            flag.touch()\n"
        "            raise MemoryError('cannot allocate 512 GiB')\n"
        "        return super().forward(x)\n\n"
        "def build():\n    return Once(4, 3)\n"
    )
    done = machine.ringyard("run", manifest(machine, HEAD + OWN + DATA + FIT), "--no-serve")
    assert done.returncode == 0, done.stdout + done.stderr + machine.story()
    assert machine.status("bad")["restarts"]["counted"] == 1


def test_a_model_server_port_that_is_taken_is_named(machine: Laptop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = ONE_WORKER + f"  serve: {{endpoint: busy, port: {port}}}\n"
        done = machine.ringyard("run", manifest(machine, text))
    assert done.returncode == 2, done.stdout + done.stderr
    assert str(port) in done.stderr and "Traceback" not in done.stderr
    assert not machine.processes()


LONG = (
    HEAD
    + """\
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [64], classes: 10}}
  data: {uri: sklearn://digits, split: {test: 0.2, seed: 7, stratify: true}}
  fit: {epochs: 150, batchSize: 64, optimizer: {name: adam, lr: 1.0e-3}}
  checkpoint: {everySteps: 20, keep: 3}
"""
)


def test_a_disk_full_at_a_checkpoint_is_said_and_costs_neither_the_training_nor_the_old_checkpoints(
    machine: Laptop,
) -> None:
    process = machine.start("run", manifest(machine, LONG), "--no-serve")
    machine.until_step("bad", 45)
    pid = machine.agent("bad", 0)["child_pid"]
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (16384, hard))
    machine.until(
        "it says so", lambda: "checkpoint" in machine.log("bad", 0) and "File too large" in machine.log("bad", 0)
    )
    kept = list((machine.run_dir("bad") / "checkpoints").glob("step-*.safetensors"))
    assert kept, "the old checkpoints are still there"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert process.wait(timeout=150) == 0, machine.story()
    assert machine.status("bad")["restarts"]["counted"] == 0


def test_a_corrupt_checkpoint_is_passed_over_for_the_one_before_and_named(machine: Laptop) -> None:
    process = machine.start("run", manifest(machine, LONG), "--no-serve")
    machine.until_step("bad", 70)
    assert machine.ringyard("stop", "bad").returncode == 0
    process.wait(timeout=60)
    newest = max((machine.run_dir("bad") / "checkpoints").glob("step-*.safetensors"))
    torn = bytearray(newest.read_bytes())
    torn[len(torn) // 2] ^= 0xFF
    newest.write_bytes(torn)
    done = machine.ringyard("run", "bad.yaml", "--no-serve")
    assert done.returncode == 0, done.stdout + done.stderr + machine.story()
    assert newest.stem in machine.log("bad", 0) and "corrupt" in machine.log("bad", 0)
    report = json.loads((machine.run_dir("bad") / "report" / "report.json").read_text())
    steps = [point["step"] for point in report["curve"]]
    assert steps == sorted(set(steps)) and steps[-1] == machine.status("bad")["totalSteps"]
