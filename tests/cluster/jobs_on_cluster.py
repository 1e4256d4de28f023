"""TrainingJobs for the behaviour tests of a cluster: how they are written, and what a person asks of one that runs.

Two kinds: `training`, three workers on digits that go as slowly as a test wants, and `script`, whose workers run a
command of a test's own and need no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from faults import processes_of
from kubectl import Kubectl

TRAINER = os.environ.get("TRAINER_IMAGE", "ringyard/trainer:dev")
CODE = "unhurried"  # the ConfigMap with the model whose pace a test sets
OWN = """\
import pathlib, time, torch

PACE = pathlib.Path("/ringyard/claims/models/pace")

class Unhurried(torch.nn.Sequential):
    def forward(self, x):
        if self.training:
            time.sleep(float(PACE.read_text()) if PACE.exists() else 0.3)
        return super().forward(x)

def build():
    return Unhurried(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
"""
SLEEPS = "trap 'exit 143' TERM; while :; do sleep 0.2; done"
EPOCHS, STEPS = 8, 8 * 23  # 1437 digits to train on, 64 a step


def training(
    name: str, *, workers: Mapping[str, Any] | None = None, policy: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A declared fit on digits, storage on the claim `models`, its model in the ConfigMap of `code`."""
    spec: dict[str, Any] = {
        "image": TRAINER,
        "workers": {"replicas": 3, "minReplicas": 1, "maxReplicas": 6, **(workers or {})},
        "model": {"factory": "own:build"},
        "code": {"configMap": CODE},
        "data": {
            "uri": "sklearn://digits",
            "split": {"test": 0.2, "seed": 7, "stratify": True},
            "preprocess": [{"standardize": {}}],
        },
        "fit": {
            "epochs": EPOCHS,
            "batchSize": 64,
            "precision": "fp64",
            "optimizer": {"name": "adam", "lr": 0.001},
            "seed": 7,
        },
        "checkpoint": {"everySteps": 50, "keep": 2},
        "storage": {"uri": "pvc://models/runs"},
        "evaluate": {"metrics": ["accuracy"]},
        "runPolicy": dict(policy or {}),
        **more,
    }
    return manifest(name, spec)


def script(
    name: str,
    *command: str,
    replicas: int = 1,
    workers: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A `command` job; the command is a shell's unless there are several words."""
    words = list(command) if len(command) > 1 else ["sh", "-c", command[0]]
    sizes = {"replicas": replicas, "minReplicas": replicas, **(workers or {})}
    return manifest(
        name, {"image": TRAINER, "workers": sizes, "command": words, "runPolicy": dict(policy or {}), **more}
    )


def manifest(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    meta = {"name": name}
    return {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": dict(spec)}


def code() -> dict[str, Any]:
    """The ConfigMap that `training` names."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CODE}, "data": {"own.py": OWN}}


class Job:
    """One TrainingJob, as kubectl shows it."""

    def __init__(self, kubectl: Kubectl, wanted: Mapping[str, Any]) -> None:
        self.kubectl, self.name = kubectl, str(wanted["metadata"]["name"])
        kubectl.apply(wanted)

    # -- what it says -------------------------------------------------------------------------------------------------
    def get(self) -> dict[str, Any]:
        return self.kubectl.get("trainingjob", self.name)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get().get("status", {})
        return found

    def condition(self, kind: str = "Succeeded") -> dict[str, Any]:
        return self.kubectl.condition("trainingjob", self.name, kind)

    def step(self) -> int:
        return int(self.status().get("step") or 0)

    def ready(self) -> int:
        return int(self.status().get("workers", {}).get("ready") or 0)

    def counted(self) -> int:
        return int(self.status().get("restarts", {}).get("counted") or 0)

    def ignored(self) -> int:
        return int(self.status().get("restarts", {}).get("ignored") or 0)

    def events(self) -> list[str]:
        """Reasons of the job's events, oldest first."""
        return [event["reason"] for event in self.kubectl.events(self.name)]

    # -- its pods -----------------------------------------------------------------------------------------------------
    def pods(self) -> list[dict[str, Any]]:
        """All that exist, by index and attempt."""
        found = self.kubectl.all("pods", f"ringyard.dev/job={self.name}")
        return sorted(found, key=lambda pod: (index_of(pod), attempt_of(pod)))

    def pod(self, index: int) -> dict[str, Any]:
        """The newest pod of an index that is not on its way out; {} where there is none."""
        mine = [p for p in self.pods() if index_of(p) == index and "deletionTimestamp" not in p["metadata"]]
        return max(mine, key=attempt_of, default={})

    def running(self, index: int) -> str:
        """The name of the index's pod, if it runs."""
        pod = self.pod(index)
        return str(pod["metadata"]["name"]) if pod and pod["status"].get("phase") == "Running" else ""

    def processes(self, index: int, words: str) -> list[int]:
        """Pids, as this machine knows them, of the processes of an index whose command line holds `words`."""
        return [pid for pid, command in processes_of(self.pod(index)).items() if words in command]

    # -- waiting ------------------------------------------------------------------------------------------------------
    def until(self, what: str, true: Callable[[], Any], timeout: float = 120.0) -> Any:
        return self.kubectl.wait_until(true, f"{what} (job {self.name})", timeout)

    def until_ready(self, count: int) -> None:
        self.until(f"{count} workers in the view", lambda: self.ready() == count)

    def until_running(self, count: int) -> list[str]:
        """Waits until the pods of the indices 0 … count-1 run; their names."""

        def names() -> list[str]:
            found = [self.running(index) for index in range(count)]
            return found if all(found) else []

        found: list[str] = self.until(f"{count} pods run", names)
        return found

    def until_attempt(self, index: int, attempt: int) -> str:
        """Waits until this attempt of an index runs; the pod's name."""

        def name() -> str:
            pod = self.pod(index)
            return self.running(index) if pod and attempt_of(pod) == attempt else ""

        found: str = self.until(f"attempt {attempt} of worker {index} runs", name)
        return found

    def until_reason(self, *reasons: str, kind: str = "Succeeded", timeout: float = 120.0) -> dict[str, Any]:
        """Waits until a condition has one of these reasons; answers with the condition."""

        def met() -> dict[str, Any]:
            one = self.condition(kind)
            return one if one.get("reason") in reasons else {}

        found: dict[str, Any] = self.until(f"{kind} for reason {' or '.join(reasons)}", met, timeout)
        return found

    def until_ended(self, status: str = "True", timeout: float = 180.0) -> dict[str, Any]:
        """Waits for the job's end, which has to be this one; answers with the condition."""

        def ended() -> dict[str, Any]:
            one = self.condition()
            return one if one.get("status") in ("True", "False") else {}

        found: dict[str, Any] = self.until("the end", ended, timeout)
        assert found["status"] == status, f"{found}\n{self.kubectl.story()}"
        return found

    def pace(self, seconds: float) -> None:
        """From now on each forward pass takes so long (a job of `training`)."""
        pod = next(name for name in map(self.running, range(8)) if name)
        change = f"echo {seconds} > /ringyard/claims/models/.pace && mv /ringyard/claims/models/.pace"
        done = self.kubectl.exec(pod, "sh", "-c", f"{change} /ringyard/claims/models/pace")
        assert done.returncode == 0, done.stderr


def index_of(pod: Mapping[str, Any]) -> int:
    return int(pod["metadata"]["labels"]["ringyard.dev/index"])


def attempt_of(pod: Mapping[str, Any]) -> int:
    return int(pod["metadata"]["labels"]["ringyard.dev/attempt"])
