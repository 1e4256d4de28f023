"""What real pods tell, without an operator: every way to wait and to end becomes the fact that the plan decides on.

tests/operator/test_pods.py replays these messages fast; here scheduler and kubelet say them themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cluster_at_hand import Cluster
from kubectl import Kubectl
from ringyard_api.clusterobject import job_of
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.observed import GoneBecause, WorkerPhase, WorkerSeen
from ringyard_operator.pods import termination_result, worker_seen
from ringyard_operator.resources.children import job_children
from ringyard_operator.resources.comparison import same
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import worker_pod

SLEEPS = "trap 'exit 143' TERM; while :; do sleep 0.2; done"
DEAF = "trap '' TERM; while :; do sleep 0.2; done"
RESULT = '{"metrics":{},"gate":null,"model":null}'


class Workers:
    """Pods as the operator makes them, of a job that it is told to leave alone."""

    def __init__(self, kubectl: Kubectl, image: str) -> None:
        self.kubectl, self.setting = kubectl, Setting(trainer_image=image, serving_image=image)

    def job(self, name: str, **spec: Any) -> TrainingJob:
        policy = {"managedBy": "tests.ringyard.dev/nobody"}
        manifest = {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": name}}
        made = self.kubectl.create({**manifest, "spec": {"command": ["sh"], "runPolicy": policy, **spec}})
        job, problems = job_of(made)
        assert problems == ()
        for child in job_children(job, self.setting):
            assert same(child, self.kubectl.create(child)), "what the API server adds makes no difference"
        return job

    def start(self, job: TrainingJob, script: str = "", index: int = 0, grace: int = 30) -> str:
        pod = worker_pod(job, index, 0, self.setting)
        if script:
            pod["spec"]["containers"][0]["command"] = ["sh", "-c", script]
        pod["spec"]["terminationGracePeriodSeconds"] = grace
        name: str = self.kubectl.create(pod)["metadata"]["name"]
        return name

    def look(self, name: str) -> WorkerSeen | None:
        pod = self.kubectl.find("pod", name)
        warnings = [each for each in self.kubectl.events(name) if each["type"] == "Warning"]
        trouble = warnings[-1]["message"] if warnings else ""
        now = time.time()
        return worker_seen(pod, told=False, heard_at=now, now=now, trouble=trouble) if pod else None

    def until(self, name: str, wanted: Callable[[WorkerSeen], Any]) -> WorkerSeen:
        found: WorkerSeen = self.kubectl.wait_until(
            lambda: (seen := self.look(name)) is not None and wanted(seen) and seen, f"{name} as it should be"
        )
        return found


@pytest.fixture
def workers(cluster: Cluster, kubectl: Kubectl) -> Workers:
    return Workers(kubectl, cluster.busybox)


def template(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": spec}}


def test_every_cause_of_waiting_is_one_sentence_and_one_word(workers: Workers, kubectl: Kubectl) -> None:
    absent = f"does not exist in namespace {kubectl.namespace}: create it"
    secret = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}
    key = {"name": "S", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "absent"}}}
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "gpu": ({"workers": {"resources": {"limits": {"a.b/gpu": 1}}}}, "Unschedulable", "have a free a.b/gpu"),
        "where": ({"workers": template(nodeSelector={"no": "where"})}, "Unschedulable", "match its node selector"),
        "image": ({"image": "ringyard.invalid/absent:1"}, "ImageUnavailable", "absent:1 cannot be pulled"),
        "secret": ({"workers": template(containers=[{"env": [secret]}])}, "ConfigMissing", f"Secret absent {absent}"),
        "key": ({"workers": template(containers=[{"env": [key]}])}, "ConfigMissing", "has no key absent: add it"),
        "claim": ({"storage": {"uri": "pvc://absent/x"}}, "VolumeUnavailable", f"Claim absent {absent}"),
        "code": ({"code": {"configMap": "absent"}}, "ConfigMissing", f"ConfigMap absent {absent}"),
    }  # fmt: skip
    made = {name: workers.start(workers.job(name, **spec)) for name, (spec, _, _) in cases.items()}
    for name, (_, code, said) in cases.items():
        seen = workers.until(made[name], lambda seen: seen.waiting_code is not None)
        assert (seen.phase, seen.waiting_code) == (WorkerPhase.PENDING, code)
        assert said in seen.waiting_reason, seen.waiting_reason


def test_every_way_to_end_is_told_from_the_others(workers: Workers, kubectl: Kubectl) -> None:
    job = workers.job("ends", workers={"replicas": 3, "resources": {"limits": {"memory": "64Mi"}}})
    well = workers.start(job, f"echo '{RESULT}' > /dev/termination-log")
    wrong = workers.start(job, "echo one; echo ringyard: no such column; exit 3", 1)
    hungry = workers.start(job, "head -c 300m /dev/zero | tail", 2)
    seen = workers.until(well, lambda seen: seen.phase is WorkerPhase.SUCCEEDED)
    assert termination_result(kubectl.get("pod", well)) == json.loads(RESULT)
    assert (seen.exit_code, seen.gone_because, seen.last_lines) == (0, None, ())
    seen = workers.until(wrong, lambda seen: seen.phase is WorkerPhase.FAILED)
    assert (seen.exit_code, seen.last_lines) == (3, ("one", "ringyard: no such column"))
    seen = workers.until(hungry, lambda seen: seen.phase is WorkerPhase.FAILED)
    assert (seen.exit_code, seen.out_of_memory, seen.gone_because) == (137, True, None)


@pytest.mark.parametrize(
    ("script", "evict", "why", "code"),
    [
        (SLEEPS, True, GoneBecause.EVICTED, 143),
        (SLEEPS, False, GoneBecause.DELETED, 143),
        (DEAF, False, GoneBecause.DELETED, 137),
    ],
    ids=["evicted", "deleted", "deleted-and-killed"],
)
def test_a_worker_that_is_taken_away_has_not_failed_from_its_first_moment_to_its_last(
    workers: Workers, kubectl: Kubectl, script: str, evict: bool, why: GoneBecause, code: int
) -> None:
    name = workers.start(workers.job("gone"), script, grace=3)
    workers.until(name, lambda seen: seen.phase is WorkerPhase.RUNNING)
    kubectl.patch("pod", name, {"metadata": {"finalizers": ["tests.ringyard.dev/held"]}})  # to look at its end
    try:
        if evict:
            kubectl.wait_until(lambda: not kubectl.evict(name), "the eviction granted")
        else:
            kubectl.delete("pod", name, "--wait=false")
        going = workers.until(name, lambda seen: seen.phase is not WorkerPhase.RUNNING)
        assert going.gone_because is why
        gone = workers.until(name, lambda seen: seen.phase is WorkerPhase.FAILED)
        assert (gone.gone_because, gone.exit_code) == (why, code)
        kubectl.wait_until(lambda: kubectl.get("pod", name)["metadata"]["deletionGracePeriodSeconds"] == 0, "the end")
        gone = workers.until(name, lambda seen: seen.phase is WorkerPhase.FAILED)
        assert gone.gone_because is why, "the kubelet deletes once more"
    finally:
        kubectl.patch("pod", name, {"metadata": {"finalizers": None}})
