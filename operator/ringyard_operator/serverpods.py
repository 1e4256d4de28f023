"""What a Pod tells about one model server, and a Deployment about servers that cannot even be made.

`kube.endpointkeeper` calls it with plain JSON. It decides nothing; what makes a pod wait is `waiting`'s knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from ringyard_api.reasons import Reason

from ringyard_operator.endpointstatus import ServerSeen, ServerState, Why
from ringyard_operator.refusal import refusal_of_answer
from ringyard_operator.resources import names
from ringyard_operator.waiting import why_pending

_HOPELESS = 3  # ends of a server in a row after which its versions count as failed
_FORBIDDEN = 403


def is_server(pod: Mapping[str, Any], endpoint: str) -> bool:
    """Whether the pod is a model server of that endpoint, made by its Deployment, that is not on its way out."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if metadata.get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    if (metadata.get("labels") or {}).get(names.ENDPOINT) != endpoint:
        return False
    owners = metadata.get("ownerReferences") or ()
    return any(
        each.get("kind") == "ReplicaSet" and each.get("name", "").startswith(f"{names.servers(endpoint)}-")
        for each in owners
    )


def address_of(pod: Mapping[str, Any], port: int) -> str | None:
    """Where its control service listens; None while it does not run."""
    status = pod.get("status") or {}
    address = status.get("podIP") or ""
    if status.get("phase") != "Running" or not address:
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def starts_of(pod: Mapping[str, Any]) -> int:
    """How often the server was started again: one that was, knows nothing of what it had been told."""
    return int(_container(pod).get("restartCount") or 0)


def mounts_all(pod: Mapping[str, Any], claims: AbstractSet[str]) -> bool:
    """Whether the pod mounts all these claims; if not, a Deployment of a newer template is about to replace it."""
    return claims_of(pod.get("spec") or {}) >= claims


def claims_of(spec: Mapping[str, Any]) -> set[str]:
    """The claims that a pod's spec mounts."""
    volumes = spec.get("volumes") or ()
    return {each["persistentVolumeClaim"]["claimName"] for each in volumes if each.get("persistentVolumeClaim")}


def server_seen(
    pod: Mapping[str, Any], state: ServerState | None, claims: AbstractSet[str], *, unheard: bool = False
) -> ServerSeen:
    """The server in that pod, with what it said last. `unheard`: it was asked in vain."""
    ready = _condition(pod, "Ready").get("status") == "True"
    crash = None if ready else _crash(pod)
    return ServerSeen(
        ready=ready,
        state=state,
        why=(_unheard(pod) if unheard else None) if ready else crash or _why_pending(pod),
        hopeless=crash is not None and starts_of(pod) >= _HOPELESS,
        outdated=not mounts_all(pod, claims),
    )


def deployment_trouble(deployment: Mapping[str, Any] | None) -> Why | None:
    """Why its pods cannot be made: a quota, Pod Security, a missing ServiceAccount."""
    failure = _condition(deployment or {}, "ReplicaFailure")
    if failure.get("status") != "True" or deployment is None:
        return None
    namespace = deployment["metadata"].get("namespace", "")
    refusal = refusal_of_answer(_FORBIDDEN, failure.get("message", ""), namespace=namespace, what="model server")
    return None if refusal is None else (refusal.sentence, refusal.reason)


def _unheard(pod: Mapping[str, Any]) -> Why:
    name = pod["metadata"].get("name", "")
    sentence = f"server {name} is ready but does not answer the operator: is a NetworkPolicy in the way?"
    return sentence, Reason.SERVER_FAILED


def _crash(pod: Mapping[str, Any]) -> Why | None:
    container = _container(pod)
    ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
    if not ended:
        return None
    if ended.get("reason") == "OOMKilled":
        return "the model server was killed for memory: its node or its limit has too little", Reason.SERVER_FAILED
    lines = [line.strip() for line in (ended.get("message") or "").splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines else ""
    return f"the model server ended with {ended.get('exitCode')}{said}", Reason.SERVER_FAILED


def _why_pending(pod: Mapping[str, Any]) -> Why | None:
    found = why_pending(pod, "")
    if found is not None and found[1] is Reason.IMAGE_UNAVAILABLE:
        return found[0].partition("; ")[0], found[1]  # the remedy is a job's: this image is the installation's
    return found


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((each for each in statuses if each.get("name") == names.SERVER), {})


def _condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in found if each.get("type") == kind), {})
