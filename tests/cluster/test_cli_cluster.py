"""The command line on a cluster, from outside: every call is a real process against the real API server.

The jobs here are managed by somebody else, by the test, so that no operator has a hand in them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import Kubectl
from ringyard_api.defaults import resolve
from ringyard_api.jobstatus import Condition, JobStatus, WorkersStatus
from ringyard_api.loading import from_object, load_job, to_object
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.submit import submit as submit_here

RINGYARD = Path(sys.executable).parent / "ringyard"
JOB = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: iris, labels: {team: a}}
spec:
  workers: {replicas: 2, maxReplicas: 4}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [8], classes: 3}}
  data: {uri: "sklearn://iris"}
  fit: {epochs: 1, batchSize: 32, loss: crossEntropy}
  runPolicy: {managedBy: example.com/the-test}
"""

Words = subprocess.CompletedProcess[str]


class CommandLine:
    """`ringyard` in the test's namespace, or without one where `here` is wanted."""

    def __init__(self, kubectl: Kubectl, state: Path) -> None:
        self._kubectl, self.state = kubectl, state
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RINGYARD_")},
            "KUBECONFIG": kubectl.kubeconfig,
            "XDG_STATE_HOME": str(state),
            "COLUMNS": "120",
        }

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> Words:
        return self.here(*words, "-n", self._kubectl.namespace, stdin=stdin, **environment)

    def here(self, *words: str, stdin: str = "", **environment: str) -> Words:
        return subprocess.run(
            [str(RINGYARD), *words],
            input=stdin,
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            timeout=90,
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(RINGYARD), *words, "-n", self._kubectl.namespace],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


@pytest.fixture
def ringyard(kubectl: Kubectl, tmp_path: Path) -> CommandLine:
    return CommandLine(kubectl, tmp_path)


def status(kind: str, value: str, reason: str, message: str) -> JobStatus:
    condition = Condition(
        type=kind,
        status=value,
        reason=reason,
        message=message,
        last_transition_time="2026-01-02T03:04:05Z",
        observed_generation=1,
    )
    workers = WorkersStatus(ready=2, summary="2/2")
    return JobStatus(conditions=(condition,), step=7, total_steps=10, progress="70%", loss=0.25, workers=workers)


def write_status(kubectl: Kubectl, wanted: JobStatus) -> None:
    kubectl.patch("trainingjob", "iris", {"status": to_object(wanted)}, "--subresource=status")


def test_a_job_of_a_cluster_is_shown_exactly_as_one_of_this_machine(kubectl: Kubectl, ringyard: CommandLine) -> None:
    done = ringyard("submit", "-", stdin=JOB)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"job iris is submitted to namespace {kubectl.namespace} of context ")
    ended = status("Succeeded", "True", "Trained", "the job has trained its model")
    write_status(kubectl, ended)
    here = StateDir(ringyard.state / "ringyard")
    submit_here(here, resolve(load_job(JOB, "iris.yaml")))
    here.job("iris").write_status(ended)

    assert without_age(ringyard("list").stdout) == without_age(ringyard.here("list").stdout)
    assert without_age(ringyard("status", "iris").stdout) == without_age(ringyard.here("status", "iris").stdout)
    there, local = (json.loads(each("status", "iris", "-o", "json").stdout) for each in (ringyard, ringyard.here))
    assert to_object(resolve(from_object(there)))["spec"] == local["spec"]  # an API server knows the constant defaults
    assert there["status"] == local["status"]
    assert there["metadata"]["namespace"] == kubectl.namespace
    listed = json.loads(ringyard("list", "-o", "json").stdout)
    assert listed["kind"] == "List" and listed["items"] == [there]
    by_environment = ringyard.here("list", RINGYARD_CONTEXT=kubectl.run("config", "current-context").strip())
    assert "no jobs in namespace default" in by_environment.stderr
    assert "iris" in ringyard.here("list", "--state-dir", str(here.root), RINGYARD_CONTEXT="another").stdout


def without_age(text: str) -> list[list[str]]:
    """The words of each line but the ages, which differ by a moment."""
    return [
        [word for word in line.split() if not word[:1].isdigit() or not word[-1:].isalpha()]
        for line in text.splitlines()
    ]


def test_a_manifest_takes_back_what_scale_and_stop_changed(kubectl: Kubectl, ringyard: CommandLine) -> None:
    assert ringyard("submit", "-", stdin=JOB).returncode == 0
    assert ringyard("scale", "iris", "--replicas", "4").stdout == "job iris: replicas 2 -> 4\n"
    assert kubectl.get("trainingjob", "iris")["spec"]["workers"]["replicas"] == 4

    late = ringyard("stop", "iris", "--timeout", "0.5")
    assert late.returncode == 4 and f"see `ringyard status iris -n {kubectl.namespace}`" in late.stderr
    stopping = ringyard.begin("stop", "iris")
    write_status(kubectl, status("Suspended", "True", "Suspended", "the job is suspended"))
    out, err = stopping.communicate(timeout=60)
    assert (stopping.returncode, out) == (
        0,
        "job iris: stopped at step 7; `ringyard submit` with its manifest goes on from there\n",
    ), err

    assert "it was stopped: `ringyard submit` with its manifest goes on" in ringyard("status", "iris").stdout

    again = ringyard("submit", "-", "--set", "fit.epochs=1", stdin=JOB)
    assert again.returncode == 0, again.stderr
    spec = kubectl.get("trainingjob", "iris")["spec"]
    assert spec["workers"]["replicas"] == 2 and spec["runPolicy"]["suspend"] is False
    assert kubectl.get("trainingjob", "iris")["metadata"]["labels"] == {"team": "a"}

    assert ringyard("delete", "iris").stdout == "job iris: deleted\n"
    assert kubectl.find("trainingjob", "iris") is None


def test_wait_ends_when_it_holds_when_it_never_will_and_in_time(kubectl: Kubectl, ringyard: CommandLine) -> None:
    assert ringyard("wait", "iris", "--for", "Running").returncode == 3
    ringyard("submit", "-", stdin=JOB)
    late = ringyard("wait", "iris", "--for", "Running", "--timeout", "0.5")
    assert late.returncode == 4 and "no operator has looked at it yet" in late.stderr
    waiting = ringyard.begin("wait", "iris", "--for", "running")
    write_status(kubectl, status("Running", "True", "Training", "2 workers train"))
    assert waiting.communicate(timeout=60)[0] == "iris: condition Running=True holds\n"
    waiting = ringyard.begin("wait", "iris", "--for", "Succeeded")
    write_status(kubectl, status("Succeeded", "False", "GateNotReached", "accuracy 0.5 is below 0.9"))
    assert "Succeeded=True will not hold any more (GateNotReached: accuracy" in waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 1
    waiting = ringyard.begin("wait", "iris", "--for", "delete")
    kubectl.delete("trainingjob", "iris")
    assert waiting.communicate(timeout=60)[0] == "iris: deleted\n"


Busybox = Callable[..., dict[str, Any]]


def worker(busybox: Busybox, index: int, attempt: int, *command: str) -> dict[str, Any]:
    labels = {"ringyard.dev/job": "iris", "ringyard.dev/index": str(index), "ringyard.dev/attempt": str(attempt)}
    pod = busybox(f"iris-{index}-{attempt}", *command, labels=labels)
    pod["spec"]["containers"][0]["name"] = "worker"
    return pod


def test_logs_of_all_workers_are_read_and_followed_over_a_lost_one_until_the_job_ends(
    kubectl: Kubectl, ringyard: CommandLine, busybox: Busybox
) -> None:
    ringyard("submit", "-", stdin=JOB)
    say = ("sh", "-c", "echo first; echo second; until [ -e /tmp/go ]; do sleep 0.1; done; echo third; printf last")
    kubectl.apply([worker(busybox, index, 0, *say) for index in (0, 1)])
    following = ringyard.begin("logs", "iris", "--follow")
    try:
        assert following.stdout
        begun = {following.stdout.readline() for _ in range(4)}
        assert begun == {"[0] first\n", "[0] second\n", "[1] first\n", "[1] second\n"}
        assert ringyard("logs", "iris", "--worker", "1").stdout == "[1] first\n[1] second\n"
        assert ringyard("logs", "iris").stdout == "[0] first\n[0] second\n[1] first\n[1] second\n"
        none = ringyard("logs", "iris", "--worker", "7")
        assert none.returncode == 3 and "there are pods of 0, 1" in none.stderr

        kubectl.delete("pod", "iris-1-0", "--grace-period=0", "--force")
        kubectl.apply([worker(busybox, 1, 1, "echo", "successor")])
        assert following.stdout.readline() == "[1] successor\n"
        kubectl.exec("iris-0-0", "touch", "/tmp/go")
        assert [following.stdout.readline() for _ in range(2)] == ["[0] third\n", "[0] last\n"]
        write_status(kubectl, status("Succeeded", "True", "Trained", "the job has trained its model"))
        assert following.wait(60) == 0
    finally:
        following.kill()
        following.communicate()


def test_what_cannot_be_had_is_one_sentence_and_an_exit_code(kubectl: Kubectl, ringyard: CommandLine) -> None:
    ringyard("submit", "-", stdin=JOB)
    space = kubectl.namespace
    changed = JOB.replace("batchSize: 32", "batchSize: 64")
    local = JOB.replace('{uri: "sklearn://iris"}', "{uri: /data/iris.csv, label: kind}")
    for words, stdin, code, said in (
        (("status", "irs"), "", 3, f"no job 'irs' in namespace {space} of context"),
        (("status", "irs"), "", 3, "did you mean 'iris'?"),
        (("predict", "iris"), "[[1, 2]]", 3, f"no endpoint 'iris' in namespace {space}"),
        (("scale", "iris", "--replicas", "9"), "", 2, "spec.workers.replicas: must be at most maxReplicas (4), got 9"),
        (("submit", "-"), changed, 2, "spec.fit.batchSize: is immutable"),
        (("submit", "-"), JOB.replace("iris,", "I_RIS,"), 2, "metadata.name"),
        (("submit", "-"), local, 2, "spec.data.uri"),
        (("submit", "-"), JOB.replace("{name:", "{namespace: other, name:"), 2, f"other is not --namespace {space}"),
        (("status", "iris", "--context", "nowhere"), "", 2, "has no context 'nowhere'"),
        (("list", "--kubeconfig", "/no/such/file"), "", 2, "/no/such/file: No such file or directory"),
    ):
        done = ringyard(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    absent = ringyard.here("submit", "-", "-n", f"{space}-x", stdin=JOB)
    assert absent.returncode == 2 and f"has no namespace '{space}-x'" in absent.stderr


@pytest.fixture
def stranger(kubectl: Kubectl) -> dict[str, Any]:
    """A kubeconfig of somebody with no rights, to be changed by a test."""
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": kubectl.run("create", "token", "default").strip()}
    return config


def test_a_cluster_that_forbids_does_not_answer_or_has_no_ringyard_is_said_so(
    stranger: dict[str, Any], ringyard: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig"

    def listed(namespace: str = "default") -> Words:
        file.write_text(json.dumps(stranger))
        return ringyard.here("list", "--kubeconfig", str(file), "-n", namespace)

    forbidden = listed()
    assert forbidden.returncode == 1
    assert 'cannot list resource "trainingjobs"' in forbidden.stderr
    assert stranger["users"][0]["user"]["token"] not in forbidden.stderr
    stranger["users"][0]["user"] = {"token": "expired"}
    assert "are not accepted" in listed().stderr
    stranger["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    silent = listed()
    assert silent.returncode == 1 and "https://127.0.0.1:1" in silent.stderr and "does not answer" in silent.stderr
    for each in (forbidden, silent):
        assert len(each.stderr.splitlines()) == 1 and "Traceback" not in each.stderr
