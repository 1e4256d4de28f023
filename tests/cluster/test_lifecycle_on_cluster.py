"""A job's life on a cluster: suspended and resumed, scaled, given up, cleaned away, left to others."""

from __future__ import annotations

import time

from installed_operator import InstalledOperator
from jobs_on_cluster import SLEEPS, Job, attempt_of, code, script, training
from kubectl import Kubectl
from storage_claims import Claims

GANG = """\
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(total)
print("sum", total.item(), "of", dist.get_world_size(), "local rank", os.environ["LOCAL_RANK"])
dist.destroy_process_group()
"""


def suspend(kubectl: Kubectl, name: str, value: bool) -> None:
    kubectl.patch("tj", name, {"spec": {"runPolicy": {"suspend": value}}})


def phases(job: Job) -> list[str]:
    return [pod["status"]["phase"] for pod in job.pods()]


def test_a_job_that_is_made_suspended_has_no_pods_until_it_is_resumed(
    operator: InstalledOperator, kubectl: Kubectl
) -> None:
    job = Job(kubectl, script("asleep", SLEEPS, policy={"suspend": True}))
    kubectl.until_condition("tj", "asleep", "Suspended", "True")
    assert job.pods() == []
    assert not job.status().get("startTime")
    suspend(kubectl, "asleep", False)
    job.until_running(1)
    job.until_reason("Resumed", kind="Suspended")
    assert job.status()["startTime"]


def test_a_suspended_training_goes_on_where_it_was(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims
) -> None:
    claim("models")
    kubectl.apply(code())
    job = Job(kubectl, training("naps", workers={"replicas": 2}))
    job.until("some steps", lambda: job.step() >= 20)
    suspend(kubectl, "naps", True)
    kubectl.until_condition("tj", "naps", "Suspended", "True")
    assert "Running" not in phases(job)
    stopped_at = job.step()
    suspend(kubectl, "naps", False)
    job.until_ready(2)
    job.until("a step after the pause", lambda: job.step() > stopped_at)
    job.pace(0)
    job.until_ended()
    assert job.counted() == 0


def test_exit_codes_decide_what_a_failure_costs(operator: InstalledOperator, kubectl: Kubectl) -> None:
    mine = Job(kubectl, script("mine", "echo the data is wrong; exit 7"))
    theirs = Job(kubectl, script("theirs", "echo no luck; exit 200", policy={"backoffLimit": 1}))
    lenient = Job(
        kubectl, script("lenient", "echo again; exit 7", policy={"backoffLimit": 0, "restartPolicy": "OnFailure"})
    )
    end = mine.until_ended("False")
    assert end["reason"] == "PermanentFailure"
    assert "exit code 7" in end["message"] and "the data is wrong" in end["message"]
    end = theirs.until_ended("False")
    assert end["reason"] == "BackoffLimitExceeded"
    assert theirs.counted() == 2, "the limit and one more"
    assert {attempt_of(pod) for pod in theirs.pods()} == {0}, "restarted in its pod"
    (pod,) = theirs.pods()
    theirs.until("its pod has ended by itself", lambda: phases(theirs) == ["Failed"])
    assert "no luck" in kubectl.logs(pod["metadata"]["name"]), "the last failed pod stays, with its log"
    assert lenient.until_ended("False")["reason"] == "BackoffLimitExceeded"
    assert [kubectl.condition("tj", name, "Failed")["status"] for name in ("mine", "theirs", "lenient")] == ["True"] * 3


def test_when_a_job_ends_its_policies_say_what_is_left_of_it(operator: InstalledOperator, kubectl: Kubectl) -> None:
    tidy = Job(kubectl, script("tidy", "true", policy={"cleanPodPolicy": "All"}))
    late = Job(kubectl, script("late", SLEEPS, policy={"activeDeadlineSeconds": 3, "cleanPodPolicy": "Running"}))
    kept = Job(kubectl, script("kept", SLEEPS, policy={"activeDeadlineSeconds": 3, "cleanPodPolicy": "None"}))
    brief = Job(kubectl, script("brief", "true", policy={"ttlSecondsAfterFinished": 4}))
    brief.until_ended()
    done = time.time()
    tidy.until_ended()
    tidy.until("no pod is left", lambda: tidy.pods() == [])
    assert late.until_ended("False")["reason"] == "DeadlineExceeded"
    late.until("no pod is left", lambda: late.pods() == [])
    assert kept.until_ended("False")["reason"] == "DeadlineExceeded"
    kept.until("its pod has ended", lambda: phases(kept) in (["Succeeded"], ["Failed"]))
    kubectl.wait_until(lambda: kubectl.find("tj", "brief") is None, "the TTL deletes the job")
    print(f"a TTL of 4 s deleted the job {time.time() - done:.1f} s after its end was seen")
    kubectl.wait_until(
        lambda: not kubectl.all("pods,services,configmaps,poddisruptionbudgets", "ringyard.dev/job=brief"),
        "what it owned goes with it",
    )


def test_a_gang_below_its_minimum_is_let_go_and_tried_again_later(
    operator: InstalledOperator, kubectl: Kubectl
) -> None:
    huge = {"resources": {"limits": {"nvidia.com/gpu": 1000}}, "minReplicas": 2}
    job = Job(kubectl, script("big", SLEEPS, replicas=2, workers=huge, policy={"gangTimeoutSeconds": 5}))
    sentence = job.until_reason("Unschedulable")["message"]
    assert "2 of 2 workers wait: 0/3 nodes have a free nvidia.com/gpu" in sentence
    sentence = job.until_reason("GangTimeout")["message"]
    assert "the next try is at" in sentence
    job.until("no pod waits", lambda: job.pods() == [])
    assert job.counted() == 0


def test_foreign_children_are_never_adopted_and_deleted_ones_come_back(
    operator: InstalledOperator, kubectl: Kubectl
) -> None:
    job = Job(kubectl, script("parent", SLEEPS))
    job.until_running(1)
    for kind in ("service", "configmap", "poddisruptionbudget"):
        (child,) = kubectl.all(kind, "ringyard.dev/job=parent")
        kubectl.delete(kind, child["metadata"]["name"])
        kubectl.wait_until(lambda k=kind: kubectl.all(k, "ringyard.dev/job=parent"), f"the {kind} comes back")
    assert job.running(0), "and its worker knows nothing of it"

    (service,) = kubectl.all("service", "ringyard.dev/job=parent")
    name = service["metadata"]["name"].replace("parent", "other")
    spec = {"ports": [{"port": 80}], "selector": {"app": "mine"}}
    kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    other = Job(kubectl, script("other", SLEEPS))
    condition = other.until_reason("ForeignChild")
    assert name in condition["message"]
    found = kubectl.get("service", name)
    assert found["spec"]["selector"] == {"app": "mine"} and "ownerReferences" not in found["metadata"]
    kubectl.delete("service", name)
    other.until_running(1)


def test_a_job_of_another_controller_is_left_alone(operator: InstalledOperator, kubectl: Kubectl) -> None:
    theirs = Job(kubectl, script("theirs", SLEEPS, policy={"managedBy": "kueue.x-k8s.io/multikueue"}))
    ours = Job(kubectl, script("ours", SLEEPS))
    ours.until_running(1)
    assert theirs.status() == {} and theirs.pods() == []


def test_a_script_gang_finds_itself_by_the_usual_variables_and_ends_well(
    operator: InstalledOperator, kubectl: Kubectl
) -> None:
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gang"}, "data": {"train.py": GANG}})
    job = Job(kubectl, script("gang", "python", "train.py", replicas=2, code={"configMap": "gang"}))
    job.until_ended()
    assert all("sum 3.0 of 2 local rank 0" in kubectl.logs(pod["metadata"]["name"]) for pod in job.pods())
