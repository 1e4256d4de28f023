"""What a pod tells: how it ended, why it went, whether its node is lost, and why it waits, in one sentence.

The messages are those that a Kubernetes 1.36.3 gave, not what we think it might say.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from ringyard_api.jobstatus import rfc3339
from ringyard_api.reasons import Reason
from ringyard_operator.observed import GoneBecause, WorkerPhase, WorkerSeen
from ringyard_operator.pods import is_worker, termination_result, worker_seen
from ringyard_operator.refusal import refusal_of_answer

NOW = 1_795_000_000.0
NODES = "no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."


def a_pod(phase: str = "Running", *, spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    labels = {"ringyard.dev/job": "digits", "ringyard.dev/index": "1", "ringyard.dev/attempt": "2"}
    metadata = {"name": "digits-1-2", "namespace": "ml", "uid": "u1", "labels": labels}
    return {
        "metadata": {**metadata, "creationTimestamp": rfc3339(NOW - 60)},
        "spec": {"nodeName": "node1", **(spec or {})},
        "status": {"phase": phase, **status},
    }


def deleted(pod: dict[str, Any], *, ago: float = 0.0, grace: int = 30) -> dict[str, Any]:
    """As the API server marks it: the time is when its grace ends."""
    pod["metadata"] |= {"deletionTimestamp": rfc3339(NOW - ago + grace), "deletionGracePeriodSeconds": grace}
    return pod


def state(**of: Any) -> list[dict[str, Any]]:
    return [{"name": "worker", "image": "kc.test/nosuch:1", "ready": "running" in of, "state": of}]


def ended(code: int, reason: str = "Error", message: str = "", phase: str = "Failed", **status: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": rfc3339(NOW - 1)}
    return a_pod(phase, containerStatuses=state(terminated=terminated), **status)


def condition(kind: str, value: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    return [{"type": kind, "status": value, "reason": reason, "message": message}]


def seen(pod: dict[str, Any], *, told: bool = False, heard: float | None = 1.0, trouble: str = "") -> WorkerSeen:
    """`heard`: seconds since its agent reported."""
    return worker_seen(pod, told=told, heard_at=None if heard is None else NOW - heard, now=NOW, trouble=trouble)


def test_a_pod_that_fails_by_itself_tells_its_code_memory_and_last_lines() -> None:
    worker = seen(ended(139, message="step 7\n\nringyard: it broke\n"))
    assert (worker.index, worker.attempt, worker.uid, worker.phase) == (1, 2, "u1", WorkerPhase.FAILED)
    assert (worker.exit_code, worker.gone_because, worker.finished_at) == (139, None, NOW - 1)
    assert worker.last_lines == ("step 7", "ringyard: it broke")
    assert seen(ended(137, "OOMKilled")).out_of_memory


def test_a_result_is_what_a_worker_that_ended_well_left_and_no_script_can_fake_one_by_failing() -> None:
    result = {"metrics": {"accuracy": 0.9}, "gate": None, "model": {"uri": "pvc://m/x/model", "digest": "sha256:0"}}
    well = ended(0, "Completed", json.dumps(result), phase="Succeeded")
    assert termination_result(well) == result and seen(well).last_lines == ()
    assert seen(well).phase is WorkerPhase.SUCCEEDED
    assert termination_result(ended(1, message=json.dumps(result))) is None
    assert termination_result(ended(0, message='{"a": 1}', phase="Succeeded")) is None
    assert seen(ended(1, message='{"a": 1}')).last_lines == ('{"a": 1}',)


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("EvictionByEvictionAPI", GoneBecause.EVICTED),
        ("PreemptionByScheduler", GoneBecause.PREEMPTED),
        ("DeletionByTaintManager", GoneBecause.NODE_LOST),
        ("DeletionByPodGC", GoneBecause.NODE_LOST),
        ("TerminationByKubelet", GoneBecause.EVICTED),
    ],
)
def test_a_disruption_is_told_from_a_failure_while_the_pod_goes_and_after(reason: str, why: GoneBecause) -> None:
    target = condition("DisruptionTarget", "True", reason)
    going = seen(deleted(a_pod(containerStatuses=state(running={}), conditions=target)))
    assert (going.phase, going.gone_because) == (WorkerPhase.TERMINATING, why)
    gone = seen(deleted(ended(143, conditions=target)))
    assert (gone.phase, gone.gone_because) == (WorkerPhase.FAILED, why)
    assert seen(deleted(ended(143, conditions=target)), told=True).gone_because is GoneBecause.TOLD


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("Evicted", GoneBecause.EVICTED),
        ("Preempting", GoneBecause.PREEMPTED),
        ("NodeLost", GoneBecause.NODE_LOST),
        ("Terminated", GoneBecause.EVICTED),
        ("NodeAffinity", GoneBecause.NODE_REFUSED),
        ("OutOfnvidia.com/gpu", GoneBecause.NODE_REFUSED),
        ("UnexpectedAdmissionError", GoneBecause.NODE_REFUSED),
    ],
)
def test_a_pod_that_the_kubelet_ended_or_never_took_has_not_failed(reason: str, why: GoneBecause) -> None:
    worker = seen(a_pod("Failed", reason=reason, message="Pod was rejected"))
    assert (worker.phase, worker.gone_because, worker.exit_code) == (WorkerPhase.FAILED, why, None)


def test_a_container_that_a_node_lost_while_it_was_off_has_not_failed_either() -> None:
    assert seen(ended(137, "ContainerStatusUnknown")).gone_because is GoneBecause.NODE_LOST
    assert seen(ended(255, "Unknown")).gone_because is GoneBecause.NODE_LOST


def test_deleting_a_pod_that_had_failed_before_does_not_excuse_the_failure() -> None:
    pod = deleted(ended(1), ago=0.0)
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = rfc3339(NOW - 50)
    assert seen(pod).gone_because is None
    assert seen(deleted(ended(137), ago=5.0)).gone_because is GoneBecause.DELETED
    by_kubelet = deleted(ended(137), grace=0)  # containers are gone: it deletes once more
    by_kubelet["spec"]["terminationGracePeriodSeconds"] = 30
    by_kubelet["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = rfc3339(NOW - 3)
    assert seen(by_kubelet).gone_because is GoneBecause.DELETED


def test_a_worker_is_lost_only_when_its_node_and_its_agent_are_both_silent() -> None:
    node_down = a_pod(containerStatuses=state(running={}), conditions=condition("Ready", "False"))
    assert seen(node_down, heard=2).phase is WorkerPhase.RUNNING, "a kubelet alone is no worker"
    assert seen(node_down, heard=10).phase is WorkerPhase.LOST
    assert seen(a_pod(containerStatuses=state(running={}), conditions=condition("Ready", "True")), heard=99).phase is (
        WorkerPhase.RUNNING
    )
    unready = a_pod(containerStatuses=[{"name": "worker", "ready": False, "state": {"running": {}}}])
    unready["status"]["conditions"] = condition("Ready", "False")
    assert seen(unready, heard=99).phase is WorkerPhase.RUNNING, "a probe of the template says so, not the node"


def test_a_pod_that_outlives_its_grace_on_a_silent_node_is_nobody_to_wait_for() -> None:
    pod = a_pod(containerStatuses=state(running={}))
    assert seen(deleted(pod, ago=39), told=True, heard=39).phase is WorkerPhase.TERMINATING
    lost = seen(deleted(pod, ago=41), told=True, heard=41)
    assert (lost.phase, lost.gone_because) == (WorkerPhase.LOST, GoneBecause.TOLD)


def test_a_worker_that_ended_beside_a_sidecar_that_runs_has_ended() -> None:
    assert seen(ended(0, phase="Running")).phase is WorkerPhase.SUCCEEDED
    assert seen(ended(1, phase="Running")).phase is WorkerPhase.FAILED


def test_an_init_container_that_fails_speaks_for_its_worker() -> None:
    broken = {"name": "i", "state": {"terminated": {"exitCode": 5, "message": "broken\n"}}}
    pod = a_pod(
        "Failed", initContainerStatuses=[broken], containerStatuses=state(waiting={"reason": "PodInitializing"})
    )
    assert (seen(pod).exit_code, seen(pod).last_lines) == (5, ("broken",))


@pytest.mark.parametrize(
    ("message", "said", "code"),
    [
        (
            f"0/3 nodes are available: 3 Insufficient nvidia.com/gpu. {NODES}",
            "0/3 nodes have a free nvidia.com/gpu",
            "Unschedulable",
        ),
        ("0/3 nodes are available: 3 Insufficient cpu.", "0/3 nodes have enough cpu left", "Unschedulable"),
        (
            f"0/4 nodes are available: 1 node(s) were unschedulable, 2 Insufficient a.b/gpu, 1 node(s) aflame. {NODES}",
            "0/4 nodes can take it: 1 is cordoned, 2 have no free a.b/gpu, 1 node(s) aflame",
            "Unschedulable",
        ),
        (
            f"0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. {NODES}",
            "0/3 nodes match its node selector or affinity",
            "Unschedulable",
        ),
        (
            "0/3 nodes are available: 3 node(s) are on fire.",
            "0/3 nodes can take it: 3 node(s) are on fire",
            "Unschedulable",
        ),
        ("something new", "it is not scheduled: something new", "Unschedulable"),
        (
            '0/3 nodes are available: persistentvolumeclaim "noclaim" not found. not found',
            "PersistentVolumeClaim noclaim does not exist in namespace ml: create it",
            "VolumeUnavailable",
        ),
        (
            f"0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. {NODES}",
            "claim models has no volume yet",
            "VolumeUnavailable",
        ),
    ],
)
def test_the_schedulers_words_become_one_sentence(message: str, said: str, code: str) -> None:
    volumes = [{"name": "a", "persistentVolumeClaim": {"claimName": "models"}}]
    pod = a_pod(
        "Pending", spec={"volumes": volumes}, conditions=condition("PodScheduled", "False", "Unschedulable", message)
    )
    assert (seen(pod).phase, seen(pod).waiting_reason, seen(pod).waiting_code) == (WorkerPhase.PENDING, said, code)


RESOLVE = 'failed to pull and unpack image "kc.test/nosuch:1": failed to resolve image: '
UNREACHABLE = f'{RESOLVE}failed to do request: Head "https://kc.test/v2/nosuch/manifests/1": dial tcp: lookup kc.test: '
UNPULLED = "image kc.test/nosuch:1 cannot be pulled"


@pytest.mark.parametrize(
    ("reason", "message", "said", "code"),
    [
        (
            "CreateContainerConfigError",
            'secret "nosecret" not found',
            "Secret nosecret does not exist in namespace ml: create it",
            "ConfigMissing",
        ),
        (
            "CreateContainerConfigError",
            "couldn't find key k in ConfigMap ml/conf",
            "ConfigMap conf has no key k: add it",
            "ConfigMissing",
        ),
        ("ErrImagePull", UNREACHABLE, f"{UNPULLED}: its registry does not answer", "ImageUnavailable"),
        (
            "ImagePullBackOff",
            f'Back-off pulling image "kc.test/nosuch:1": ErrImagePull: {UNREACHABLE}',
            f"{UNPULLED}: its registry does not answer",
            "ImageUnavailable",
        ),
        (
            "ErrImagePull",
            f"{RESOLVE}kc.test/nosuch:1: not found",
            f"{UNPULLED}: there is no such image; correct spec.image",
            "ImageUnavailable",
        ),
        (
            "ErrImagePull",
            f"{RESOLVE}401 Unauthorized",
            f"{UNPULLED}: the registry refuses; give imagePullSecrets in workers.template",
            "ImageUnavailable",
        ),
        ("CreateContainerError", "no device", "its container cannot be made: no device", "ContainerRefused"),
    ],
)
def test_the_kubelets_words_become_one_sentence_that_stays_the_same(
    reason: str, message: str, said: str, code: str
) -> None:
    pod = a_pod("Pending", containerStatuses=state(waiting={"reason": reason, "message": message}))
    assert (seen(pod).waiting_reason, seen(pod).waiting_code) == (said, code)


def test_what_only_a_warning_tells_is_told_and_a_warning_that_is_over_is_not() -> None:
    creating = a_pod("Pending", containerStatuses=state(waiting={"reason": "ContainerCreating"}))
    assert (seen(creating).waiting_reason, seen(creating).waiting_code) == ("", None)
    mount = 'MountVolume.SetUp failed for volume "ringyard-code" : configmap "nocode" not found'
    assert seen(creating, trouble=mount).waiting_reason == "ConfigMap nocode does not exist in namespace ml: create it"
    creating["spec"]["volumes"] = [{"name": "ringyard-code", "configMap": {"name": "nocode"}}]
    vain = "Unable to attach or mount volumes: unmounted volumes=[ringyard-code], unattached volumes=[]: timed out"
    told = seen(creating, trouble=vain)
    assert told.waiting_code is Reason.CONFIG_MISSING and "ConfigMap nocode cannot be mounted" in told.waiting_reason
    busy = 'Multi-Attach error for volume "pv1" Volume is already used by pod(s) digits-0-0'
    assert seen(creating, trouble=busy).waiting_code is Reason.VOLUME_UNAVAILABLE
    assert seen(creating, trouble=f"0/3 nodes are available: 3 Insufficient cpu. {NODES}").waiting_reason == ""


def test_a_queue_that_holds_a_pod_is_named() -> None:
    pod = a_pod("Pending", spec={"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]})
    pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    pod["status"]["conditions"] = condition("PodScheduled", "False", "SchedulingGated")
    assert (seen(pod).waiting_reason, seen(pod).waiting_code) == ("queue team-a has not admitted it yet", "Queued")


def test_a_pod_whose_labels_somebody_broke_is_no_worker() -> None:
    pod = a_pod()
    assert is_worker(pod)
    pod["metadata"]["labels"]["ringyard.dev/index"] = "x"
    assert not is_worker(pod)


DENIED = 'pods "a" is forbidden: '
UNREADABLE = 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
REFUSES = "spec.workers.template: the API server refuses the pod: "


@pytest.mark.parametrize(
    ("status", "message", "reason", "final", "said"),
    [
        (
            403,
            DENIED + "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0",
            "QuotaExceeded",
            False,
            "quota small of namespace ml is exceeded: one more worker asks for pods=1, limited: pods=0",
        ),
        (
            403,
            DENIED + "no PriorityClass with name nope was found",
            "ConfigMissing",
            False,
            "PriorityClass nope does not exist: create it",
        ),
        (
            403,
            DENIED + 'error looking up service account ml/nope: serviceaccount "nope" not found',
            "ConfigMissing",
            False,
            "ServiceAccount nope does not exist in namespace ml: create it",
        ),
        (
            403,
            DENIED + 'violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "Forbidden",
            False,
            "no worker may be made in namespace ml: violates PodSecurity",
        ),
        (
            403,
            DENIED + "unable to create new content in namespace ml because it is being terminated",
            "NamespaceTerminating",
            False,
            "namespace ml is being deleted",
        ),
        (404, 'namespaces "ml" not found', "NamespaceTerminating", False, "namespace ml is being deleted"),
        (
            422,
            'Pod "a" is invalid: spec.dnsPolicy: Unsupported value: "nope"',
            "TemplateRefused",
            True,
            REFUSES + "spec.dnsPolicy",
        ),
        (400, UNREADABLE + 'unknown field "spec.nope"', "TemplateRefused", True, REFUSES + 'unknown field "spec.nope"'),
        (
            400,
            'admission webhook "policy.example" denied the request: no',
            "Forbidden",
            False,
            "no worker may be made: admission webhook",
        ),
    ],
)
def test_an_api_servers_refusal_is_one_sentence_and_final_only_where_no_edit_can_help(
    status: int, message: str, reason: str, final: bool, said: str
) -> None:
    refusal = refusal_of_answer(status, message, namespace="ml")
    assert refusal is not None and (refusal.reason, refusal.final) == (reason, final)
    assert refusal.sentence.startswith(said) and '"a"' not in refusal.sentence


def test_an_api_server_that_does_not_answer_or_has_the_pod_already_refuses_nothing() -> None:
    assert refusal_of_answer(500, "etcd", namespace="ml") is None
    assert refusal_of_answer(409, 'pods "a" already exists', namespace="ml") is None
