"""What a Pod tells about one incarnation of a worker: Kubernetes' many ways to end and to wait, sorted into our facts.

`kube.observe` calls it with each pod of a job, as plain JSON. It decides nothing, and it does not know how the pod came
to be. Sources: core/v1's pod conditions, the kubelet's status reasons, the node and taint managers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ringyard_api.jobstatus import seconds

from ringyard_operator.observed import GoneBecause, WorkerPhase, WorkerSeen
from ringyard_operator.resources import names
from ringyard_operator.waiting import why_pending

_SILENT_SECONDS = 10.0  # an agent reports every second
_LAST_LINES = 20
_DISRUPTIONS = {
    "PreemptionByScheduler": GoneBecause.PREEMPTED,
    "EvictionByEvictionAPI": GoneBecause.EVICTED,
    "DeletionByTaintManager": GoneBecause.NODE_LOST,
    "DeletionByPodGC": GoneBecause.NODE_LOST,
    "TerminationByKubelet": GoneBecause.EVICTED,
}
_STATUS_REASONS = {
    "Evicted": GoneBecause.EVICTED,
    "Preempting": GoneBecause.PREEMPTED,
    "NodeLost": GoneBecause.NODE_LOST,
    "NodeShutdown": GoneBecause.EVICTED,
    "Terminated": GoneBecause.EVICTED,  # the node shuts down in an orderly way
    "UnexpectedAdmissionError": GoneBecause.NODE_REFUSED,
    "NodeAffinity": GoneBecause.NODE_REFUSED,
    "TopologyAffinityError": GoneBecause.NODE_REFUSED,
    "NodeName": GoneBecause.NODE_REFUSED,
    "NodePorts": GoneBecause.NODE_REFUSED,
}
_NODE_CAME_BACK = frozenset({"ContainerStatusUnknown", "Unknown"})  # what a kubelet says of a container that it lost


def worker_seen(
    pod: Mapping[str, Any], *, told: bool, heard_at: float | None, now: float, trouble: str = ""
) -> WorkerSeen:
    """The incarnation behind a pod of ours.

    `told`: we asked it to go. `heard_at`: when its agent reported last (Unix seconds), None = never; an operator that
    has just taken office passes the time when it did: who could not report yet is not silent. `trouble`: what the
    newest warning about the pod says.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    ended = _ended(pod)
    phase = _phase(pod, ended, told=told, heard_at=heard_at, now=now)
    why = why_pending(pod, trouble) if phase is WorkerPhase.PENDING else None
    return WorkerSeen(
        index=int(labels[names.INDEX]),
        attempt=int(labels[names.ATTEMPT]),
        uid=metadata["uid"],
        phase=phase,
        created_at=_time(metadata.get("creationTimestamp")) or now,
        finished_at=_time(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        gone_because=_gone_because(pod, phase, ended, told=told),
        out_of_memory=ended.get("reason") == "OOMKilled",
        last_lines=_last_lines(ended),
        waiting_reason=why[0] if why is not None else "",
        waiting_code=why[1] if why is not None else None,
        address=status.get("podIP", ""),
    )


def is_worker(pod: Mapping[str, Any]) -> bool:
    """Whether the pod carries the labels of a worker, in a shape that can be read."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return names.JOB in labels and all(str(labels.get(name, "")).isdigit() for name in (names.INDEX, names.ATTEMPT))


def termination_result(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The result that a worker which ended well left as its termination message, in the shape of result.json."""
    ended = _ended(pod)
    if ended.get("exitCode") != 0:
        return None
    try:
        found = json.loads(ended.get("message", ""))
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"metrics", "model"} <= set(found) else None


def _phase(
    pod: Mapping[str, Any], ended: Mapping[str, Any], *, told: bool, heard_at: float | None, now: float
) -> WorkerPhase:
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase == "Succeeded":
        return WorkerPhase.SUCCEEDED
    if phase == "Failed":
        return WorkerPhase.FAILED
    if ended and _is_worker_container(pod):
        return WorkerPhase.FAILED if ended.get("exitCode") else WorkerPhase.SUCCEEDED
    silent = heard_at is None or now - heard_at >= _SILENT_SECONDS
    if silent and _node_is_silent(pod, phase, now):
        return WorkerPhase.LOST
    if pod["metadata"].get("deletionTimestamp"):
        return WorkerPhase.TERMINATING
    return WorkerPhase.RUNNING if phase == "Running" else WorkerPhase.PENDING


def _node_is_silent(pod: Mapping[str, Any], phase: str, now: float) -> bool:
    """Whether the pod's node does not answer: its grace for going is long over, or the node controller took away its
    Ready, which the kubelet alone would do only together with the container's.
    """
    goes_at = _time(pod["metadata"].get("deletionTimestamp"))
    if goes_at is not None and now >= goes_at + _SILENT_SECONDS and (pod.get("spec") or {}).get("nodeName"):
        return True
    if phase == "Unknown":
        return True
    ready = _condition(pod, "Ready")
    container = _container(pod)
    running = (container.get("state") or {}).get("running") is not None and container.get("ready") is True
    return phase == "Running" and running and ready.get("status") == "False"


def _ended(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the worker's container ended, or the init container for which it never began; empty while it may run."""
    status = pod.get("status") or {}
    if found := (_container(pod).get("state") or {}).get("terminated"):
        return dict(found)
    if status.get("phase") != "Failed":
        return {}
    for container in status.get("initContainerStatuses") or ():
        terminated = (container.get("state") or {}).get("terminated") or {}
        if terminated.get("exitCode"):
            return dict(terminated)
    return {"message": status.get("message", "")}


def _is_worker_container(pod: Mapping[str, Any]) -> bool:
    return bool((_container(pod).get("state") or {}).get("terminated"))


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((each for each in statuses if each.get("name") == names.WORKER), {})


def _gone_because(
    pod: Mapping[str, Any], phase: WorkerPhase, ended: Mapping[str, Any], *, told: bool
) -> GoneBecause | None:
    if phase in (WorkerPhase.PENDING, WorkerPhase.RUNNING, WorkerPhase.SUCCEEDED):
        return None
    if told:
        return GoneBecause.TOLD
    disruption = _condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        return _DISRUPTIONS.get(disruption.get("reason", ""), GoneBecause.EVICTED)
    if _condition(pod, "TerminationTarget").get("status") == "True":  # Kueue takes the whole pod group back
        return GoneBecause.PREEMPTED
    reason = (pod.get("status") or {}).get("reason") or ""
    if reason in _STATUS_REASONS:
        return _STATUS_REASONS[reason]
    if reason.startswith("OutOf"):  # OutOfcpu, OutOfnvidia.com/gpu …
        return GoneBecause.NODE_REFUSED
    if ended.get("reason") in _NODE_CAME_BACK or phase is WorkerPhase.LOST:
        return GoneBecause.NODE_LOST
    if phase is WorkerPhase.TERMINATING or (_deleted_early(pod, ended) and phase is WorkerPhase.FAILED):
        return GoneBecause.DELETED
    return None


def _deleted_early(pod: Mapping[str, Any], ended: Mapping[str, Any]) -> bool:
    """Whether somebody deleted the pod before it ended, so that its end is no failure of its own. The kubelet deletes
    once more, with no grace and another time, when the containers are gone: so the pod's usual grace is allowed for.
    """
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    goes_at, at = _time(metadata.get("deletionTimestamp")), _time(ended.get("finishedAt"))
    if goes_at is None:
        return False
    grace = max(metadata.get("deletionGracePeriodSeconds") or 0, spec.get("terminationGracePeriodSeconds") or 0)
    return at is None or at >= goes_at - grace - 2


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _last_lines(ended: Mapping[str, Any]) -> tuple[str, ...]:
    if ended.get("exitCode") == 0:
        return ()  # a result, if anything
    return tuple(line for line in (ended.get("message") or "").splitlines() if line.strip())[-_LAST_LINES:]


def _time(text: Any) -> float | None:
    return seconds(text) if text else None
