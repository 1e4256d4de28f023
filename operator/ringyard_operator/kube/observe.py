"""Gathers the facts that `plan` reads on a cluster: pods, the coordinator's memory, the endpoint, warnings about pods.

Called by `jobkeeper` once a turn. It decides nothing. Only a pod that is slow to start costs a request, every 15 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringyard_api.artifact import script_result
from ringyard_api.jobstatus import JobStatus, seconds
from ringyard_api.reasons import ConditionType
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.conditions import holds
from ringyard_operator.coordinator import CoordinatorSeen
from ringyard_operator.errors import KubeForbidden, KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.desk import Desk
from ringyard_operator.kube.kinds import EVENTS
from ringyard_operator.kube.publishing import endpoint_seen
from ringyard_operator.observed import Observed, Refusal, WorkerPhase, WorkerSeen
from ringyard_operator.plan import is_finished
from ringyard_operator.pods import termination_result, worker_seen

_SLOW_SECONDS = 5.0  # a container that is not there by then may have a reason that only an Event tells
_ASK_AGAIN_SECONDS = 15.0
_ENDED: Mapping[str, Any] = {}  # of a job that has ended well: whatever the result was, it stands in the status


async def observe(
    api: Api,
    job: TrainingJob,
    pods: Sequence[Json],
    endpoint: Json | None,
    desk: Desk,
    refusal: Refusal | None,
    now: float,
) -> Observed:
    """The facts as of now. `pods`: all workers that still exist."""
    seen = desk.coordinator.seen() if desk.coordinator is not None else None
    workers = []
    for pod in pods:
        uid = pod["metadata"]["uid"]
        # Silent is who was heard and is not any more. Whom this term never heard may not have found the way to us yet:
        # when an API server comes back, kube-proxy is late, nodes seem dead, and a whole gang would be taken for lost.
        heard_at = seen.agents.get(uid, now) if seen is not None else now
        trouble = await _trouble(api, pod, desk, now)
        workers.append(worker_seen(pod, told=uid in desk.told, heard_at=heard_at, now=now, trouble=trouble))
    result = _result(job, pods, workers, seen)
    serve = job.spec.serve
    return Observed(
        workers=tuple(workers),
        exits=seen.exits if seen is not None else (),
        group=seen.group if seen is not None else None,
        result=result,
        endpoint=endpoint_seen(endpoint, serve.endpoint, _digest(job.status, result)) if serve is not None else None,
        refusal=refusal,
        notes=_notes(job, desk),
    )


def _result(
    job: TrainingJob, pods: Sequence[Json], workers: Sequence[WorkerSeen], seen: CoordinatorSeen | None
) -> Mapping[str, Any] | None:
    """What stands: the coordinator's word, or after a restart what workers that ended well have left as last words."""
    if job.status is not None and is_finished(job.status):
        return _ENDED if holds(job.status.conditions, ConditionType.SUCCEEDED) else None
    if seen is not None and seen.result is not None:
        return seen.result
    ended = {w.uid: w for w in workers if w.phase is WorkerPhase.SUCCEEDED}
    if not job.spec.command:
        left = (termination_result(pod) for pod in pods if pod["metadata"]["uid"] in ended)
        return next((result for result in left if result is not None), None)
    newest = {w.index: w.uid for w in sorted(workers, key=lambda w: w.attempt)}
    wanted = [newest.get(index) for index in range(job.spec.workers.replicas)]
    if not all(uid in ended for uid in wanted):
        return None
    pod_of = {pod["metadata"]["uid"]: pod for pod in pods}
    found = [result for uid in wanted if uid and (result := termination_result(pod_of[uid])) is not None]
    first: Mapping[str, Any] = found[0] if found else script_result(None, "")
    return next((result for result in found if result.get("model")), first)


def _digest(status: JobStatus | None, result: Mapping[str, Any] | None) -> str | None:
    if status is not None and status.model is not None:
        return status.model.digest
    model = result.get("model") if result is not None else None
    return str(model.get("digest")) if isinstance(model, Mapping) else None


def _notes(job: TrainingJob, desk: Desk) -> tuple[str, ...]:
    return tuple(
        f"claim {claim} is ReadWriteOnce: all workers have to run on one node"
        for claim, (_, modes) in sorted(desk.claims.items())
        if modes and not {"ReadWriteMany", "ReadWriteOncePod"} & set(modes) and job.spec.workers.replicas > 1
    )


async def _trouble(api: Api, pod: Json, desk: Desk, now: float) -> str:
    """What the newest warning about a pod says whose container is not made; empty for all others."""
    uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
    since = _creating_since(pod)
    if since is None or now - since < _SLOW_SECONDS:
        desk.troubles.pop(uid, None)
        return ""
    asked_at, sentence = desk.troubles.get(uid, (0.0, ""))
    if now - asked_at < _ASK_AGAIN_SECONDS:
        return sentence
    try:
        found = await api.list(EVENTS, namespace, fields=f"involvedObject.uid={uid},type=Warning")
    except (KubeForbidden, KubeNotFound):
        found = []
    found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    sentence = str(found[-1].get("message", "")) if found else ""
    desk.troubles[uid] = (now, sentence)
    return sentence


def _creating_since(pod: Json) -> float | None:
    """Since when a node has had the pod without making its container."""
    status = pod.get("status") or {}
    if status.get("phase") != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return None
    conditions = status.get("conditions") or ()
    scheduled = next((c for c in conditions if c.get("type") == "PodScheduled" and c.get("status") == "True"), None)
    if scheduled is None or not scheduled.get("lastTransitionTime"):
        return None
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return None  # it says itself what is wrong
    return seconds(scheduled["lastTransitionTime"])
