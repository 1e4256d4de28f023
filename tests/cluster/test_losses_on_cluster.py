"""The promise on a cluster: pods that are killed, frozen, deleted, evicted or scaled cost no step and no sample.

One disturbed run is held against an undisturbed one of the same manifest: every step once, the same parameters.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from installed_operator import InstalledOperator
from jobs_on_cluster import SLEEPS, STEPS, Job, attempt_of, code, index_of, script, training
from kubectl import Kubectl
from safetensors.numpy import load_file
from storage_claims import Claims


def parameters(runs: Path, job: Job) -> dict[str, np.ndarray]:
    """The weights that the run ended with."""
    (folder,) = runs.glob(f"{job.name}-*")
    return {n: v for n, v in load_file(folder / "checkpoints" / "final.safetensors").items() if v.dtype.kind == "f"}


def kill_and_freeze(job: Job) -> None:
    """Two losses that count: a process killed in its pod, and one frozen."""
    (victim,) = job.processes(1, "-m ringyard_trainer")
    os.kill(victim, signal.SIGKILL)
    job.until("the kill is counted", lambda: job.counted() == 1)
    job.until_ready(3)
    assert attempt_of(job.pod(1)) == 0, "a process that dies is restarted in its pod"
    (frozen,) = job.processes(2, "-m ringyard_trainer")
    os.kill(frozen, signal.SIGSTOP)
    job.until("the frozen process is counted", lambda: job.counted() == 2)
    job.until_ready(3)


def delete_drain_and_scale(kubectl: Kubectl, job: Job) -> None:
    """Losses that do not count, and two changes of size."""
    kubectl.delete("pod", job.running(0), "--wait=false")
    job.until_attempt(0, 1)
    job.until_ready(3)
    node = job.pod(1)["spec"]["nodeName"]
    try:
        chosen = f"--pod-selector=ringyard.dev/job={job.name}"
        kubectl.run("drain", node, chosen, "--delete-emptydir-data", "--timeout=60s")
    finally:
        kubectl.run("uncordon", node)
    job.until_attempt(1, 1)
    job.until_ready(3)
    kubectl.scale("tj", job.name, 4)
    job.until_ready(4)
    kubectl.scale("tj", job.name, 2)
    job.until_ready(2)
    job.until("the highest indices are gone", lambda: {index_of(pod) for pod in job.pods()} == {0, 1})


@pytest.mark.destructive
def test_killed_frozen_deleted_evicted_and_scaled_the_run_ends_with_the_same_parameters(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims
) -> None:
    claim("models")
    kubectl.apply(code())
    calm = Job(kubectl, training("calm"))
    calm.until_running(3)
    calm.pace(0)
    calm.until_ended()

    job = Job(kubectl, training("storm", policy={"stallSeconds": 5}))
    job.until_running(3)
    job.pace(1)
    job.until_ready(3)
    kill_and_freeze(job)
    delete_drain_and_scale(kubectl, job)
    assert job.counted() == 2, "deletion, a drained node and scaling are not counted"
    assert job.ignored() >= 2
    assert job.step() < STEPS, "the storm took longer than the training"
    job.pace(0)
    job.until_ended()

    runs = claim.path("models") / "runs"
    expected, found = parameters(runs, calm), parameters(runs, job)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-12, err_msg=name)
    assert job.status()["step"] == STEPS


def test_ten_evictions_are_not_counted_and_the_tenth_is_replaced_as_the_first(
    operator: InstalledOperator, kubectl: Kubectl
) -> None:
    job = Job(kubectl, script("patient", SLEEPS))
    name, took = job.until_attempt(0, 0), []
    for number in range(10):
        kubectl.wait_until(lambda pod=name: not kubectl.evict(pod), "the eviction granted")
        evicted = time.monotonic()
        name = job.until_attempt(0, number + 1)
        took.append(time.monotonic() - evicted)
    print(f"evicted → the next one runs: first {took[0]:.1f} s, tenth {took[9]:.1f} s, longest {max(took):.1f} s")
    assert job.counted() == 0
    job.until("all ten are in the ledger", lambda: job.ignored() == 10)
    assert job.condition()["status"] == "Unknown", "the job goes on"


@pytest.fixture
def high(kubectl: Kubectl) -> Iterator[str]:
    """A PriorityClass above that of everybody else."""
    name = f"{kubectl.namespace}-high"
    kubectl.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    )
    yield name
    kubectl.delete("priorityclass", name)


@pytest.mark.destructive
def test_a_preempted_worker_comes_back_and_is_not_counted(
    operator: InstalledOperator, kubectl: Kubectl, high: str
) -> None:
    gpus = {"resources": {"limits": {"nvidia.com/gpu": 8}}}
    job = Job(kubectl, script("low", SLEEPS, replicas=3, workers={**gpus, "minReplicas": 1}))
    job.until_running(3)
    Job(kubectl, script("high", "sleep 5", workers=gpus, policy={"priorityClassName": high}))
    job.until("one is preempted", lambda: job.ignored() == 1)
    sentence = job.until("why it waits", lambda: (m := job.condition()["message"]) and "nvidia.com/gpu" in m and m)
    assert "0/3 nodes have a free nvidia.com/gpu" in sentence
    job.until_running(3)
    assert job.counted() == 0
