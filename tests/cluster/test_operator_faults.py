"""What the operator and the API server may suffer while jobs run: the same end state, nothing doubled, nothing left."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from faults import ApiServer, Nodes
from installed_operator import InstalledOperator
from jobs_on_cluster import SLEEPS, STEPS, Job, attempt_of, code, index_of, script, training
from kubectl import OPERATOR, Kubectl
from storage_claims import Claims

MINE = "ringyard.dev/job"


def test_an_operator_killed_ten_times_at_random_costs_the_job_nothing(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims
) -> None:
    claim("models")
    kubectl.apply(code())
    job = Job(kubectl, training("calm"))
    chance = random.Random(7)
    for number in range(10):
        time.sleep(chance.uniform(0.5, 4.0))
        names = [pod["metadata"]["name"] for pod in operator.pods()]
        operator.kill(chance.choice(names))
        if number == 4:
            job.until_running(3)
    job.until("the workers have their pace", lambda: job.running(0))
    job.pace(0)
    job.until_ended(timeout=300)
    assert job.counted() == 0
    assert job.status()["step"] == STEPS
    assert Counter(map(index_of, job.pods())) == {0: 1, 1: 1, 2: 1}, "no worker was made twice"
    reasons = [(event["reason"], event["message"]) for event in kubectl.events("calm")]
    assert len(reasons) == len(set(reasons)), f"nothing is told twice: {reasons}"


def test_the_budget_of_failures_outlives_the_operator(operator: InstalledOperator, kubectl: Kubectl) -> None:
    job = Job(kubectl, script("unlucky", "sleep 3; exit 200", policy={"backoffLimit": 2}))
    job.until("the first failure is counted", lambda: job.counted() == 1)
    for pod in operator.pods():
        operator.kill(pod["metadata"]["name"])
    assert job.until_ended("False")["reason"] == "BackoffLimitExceeded"
    assert job.counted() == 3


def test_the_standby_takes_over_and_writes_nothing_before(operator: InstalledOperator, kubectl: Kubectl) -> None:
    kubectl.wait_until(lambda: len(operator.pods()) == 2, "two operators")
    leader = kubectl.wait_until(operator.leader, "a leader")
    operator.kill(leader)
    took = time.monotonic()
    kubectl.wait_until(lambda: operator.leader() not in ("", leader), "another leader")
    killed = time.monotonic() - took
    operator.must_be_there()
    kubectl.wait_until(lambda: len(operator.pods()) == 2, "two operators")
    leader = operator.leader()
    took = time.monotonic()
    operator.kubectl.run("delete", "pod", leader, "--wait=false")
    kubectl.wait_until(lambda: operator.leader() not in ("", leader), "another leader")
    print(f"takeover: {killed:.1f} s after a kill, {time.monotonic() - took:.1f} s after a clean stop")
    job = Job(kubectl, script("after", "true"))
    job.until_ended()


@pytest.mark.destructive
def test_a_training_goes_on_while_the_api_server_is_away_for_a_minute(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims, apiserver: ApiServer
) -> None:
    claim("models")
    pace = claim.path("models") / "pace"
    pace.write_text("1")
    kubectl.apply(code())
    job = Job(kubectl, training("alone"))
    job.until_ready(3)
    before = job.step()
    apiserver.stop()
    time.sleep(60)
    apiserver.start()
    job.until("far more steps than before", lambda: job.step() > before + 50)
    pace.write_text("0")
    job.until_ended()
    assert job.counted() == 0 and job.ignored() == 0
    assert {attempt_of(pod) for pod in job.pods()} == {0}, "no worker was replaced"


@pytest.mark.destructive
def test_a_job_deleted_while_no_operator_lives_leaves_nothing(operator: InstalledOperator, kubectl: Kubectl) -> None:
    job = Job(kubectl, script("gone", SLEEPS, replicas=2))
    job.until_running(2)
    operator.kubectl.scale("deployment", OPERATOR, 0)
    try:
        operator.kubectl.wait_until(lambda: operator.pods() == [], "no operator")
        began = time.monotonic()
        kubectl.delete("tj", "gone")
        kubectl.wait_until(
            lambda: not kubectl.all("tj,pods,services,configmaps,poddisruptionbudgets", f"{MINE}=gone"),
            "nothing is left",
        )
        print(f"nothing left {time.monotonic() - began:.1f} s after the deletion, without an operator")
    finally:
        operator.kubectl.scale("deployment", OPERATOR, 2)


def spread(name: str) -> dict[str, object]:
    """A template that puts each worker on another node."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {MINE: name}},
    }
    return {"template": {"spec": {"topologySpreadConstraints": [constraint]}}}


def node_of_a_worker(operator: InstalledOperator, job: Job) -> tuple[str, int]:
    """A node with a worker and without the operator in office, and the index of that worker."""
    (office,) = [pod["spec"]["nodeName"] for pod in operator.pods() if pod["metadata"]["name"] == operator.leader()]
    found = {job.pod(index)["spec"]["nodeName"]: index for index in range(3)}
    assert len(found) == 3, f"the workers are not spread: {found}"
    return next((node, index) for node, index in sorted(found.items()) if node != office)


@pytest.mark.destructive
def test_a_worker_on_a_node_with_a_dead_kubelet_is_replaced_and_refused_when_it_is_seen_again(
    operator: InstalledOperator, kubectl: Kubectl, nodes: Nodes
) -> None:
    job = Job(kubectl, script("spread", SLEEPS, replicas=3, workers={**spread("spread"), "minReplicas": 1}))
    job.until_running(3)
    node, index = node_of_a_worker(operator, job)
    began = time.monotonic()
    nodes.kubelet_stop(node)
    job.until_attempt(index, 1)
    print(f"a dead kubelet: replaced after {time.monotonic() - began:.1f} s")
    nodes.mend(node)
    job.until(
        "the old pod is refused and goes", lambda: [attempt_of(p) for p in job.pods() if index_of(p) == index] == [1]
    )
    assert job.counted() == 0


@pytest.mark.destructive
def test_a_node_without_power_costs_a_training_no_step(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims, nodes: Nodes
) -> None:
    claim("models")
    pace = claim.path("models") / "pace"
    pace.write_text("1")
    kubectl.apply(code())
    job = Job(kubectl, training("dark", workers=spread("dark")))
    job.until_ready(3)
    node, index = node_of_a_worker(operator, job)
    began = time.monotonic()
    nodes.crash(node)
    job.until("the others go on without it", lambda: job.ready() == 2)
    step = job.until("their step", job.step)
    print(f"a node without power: the view without its worker is told after {time.monotonic() - began:.1f} s")
    job.until("steps of the others", lambda: job.step() > step + 2)
    job.until_attempt(index, 1)
    print(f"a node without power: replaced after {time.monotonic() - began:.1f} s")
    job.until_ready(3)
    nodes.mend(node)
    assert job.step() < STEPS
    pace.write_text("0")
    job.until_ended()
    assert job.status()["step"] == STEPS
    assert job.counted() == 0
