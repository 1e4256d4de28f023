"""Why a pod does not run yet, in one sentence and one word: the words of scheduler and kubelet, made plain.

`pods` calls it with a pod that is pending. What is not understood is told in the cluster's own words. The sentence of
a cause is always the same, so that a condition does not change with each retry of the kubelet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ringyard_api.reasons import Reason

Why = tuple[str, Reason]  # a sentence, a word

_IMAGE = frozenset({
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable",
    "ImageInspectError", "SignatureValidationFailed",
})  # fmt: skip
_CONTAINER = frozenset(
    {"CreateContainerError", "RunContainerError", "CreateContainerConfigError", "PreCreateHookError"}
)
_NODES = re.compile(
    r"(?P<none>\d+)/(?P<all>\d+) nodes are available: (?P<causes>.+?)\.?"
    r"(?:,? (?:no new claims to deallocate, )?preemption: .*)?$"
)
_MISSING = re.compile(
    r"(?P<kind>secret|configmap|persistentvolumeclaim|serviceaccount)s? \"(?P<name>[^\"]+)\" not found"
)
_KEY = re.compile(r"couldn't find key (?P<key>\S+) in (?P<kind>Secret|ConfigMap) (?:\S+/)?(?P<name>\S+)")
_MISSING_KEYS = re.compile(
    r"(?:references|configmap references) non-existent (?P<kind>config|secret) key: (?P<key>\S+)"
)
_UNMOUNTED = re.compile(r"unmounted volumes=\[(?P<names>[^\]]+)\]")
_KINDS = {
    "secret": "Secret",
    "configmap": "ConfigMap",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "serviceaccount": "ServiceAccount",
}
_LONGEST = 300


def why_pending(pod: Mapping[str, Any], trouble: str) -> Why | None:
    """The cause, or None where nothing is known to be wrong. `trouble`: what the newest warning about the pod says."""
    status = pod.get("status") or {}
    scheduled: Mapping[str, Any] = next(
        (c for c in status.get("conditions") or () if c.get("type") == "PodScheduled"), {}
    )
    if scheduled.get("status") == "False":
        return _not_scheduled(pod, scheduled)
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), _plain(waiting.get("message", ""))
        if reason in _IMAGE:
            return _image(container.get("image") or "", message), Reason.IMAGE_UNAVAILABLE
        if reason in _CONTAINER:
            return missing(message, pod) or (
                f"its container cannot be made: {_short(message) or reason}",
                Reason.CONTAINER_REFUSED,
            )
        if reason == "CrashLoopBackOff":
            name = container.get("name", "")
            return f"its container {name} ends again and again: look into its log", Reason.CONTAINER_REFUSED
    return _not_made(pod, _plain(trouble)) if trouble else None


def missing(message: str, pod: Mapping[str, Any]) -> Why | None:
    """What an object says that is not there, if that is what the message speaks of."""
    namespace = (pod.get("metadata") or {}).get("namespace", "")
    if found := _MISSING.search(message):
        kind = _KINDS[found["kind"]]
        code = Reason.VOLUME_UNAVAILABLE if found["kind"] == "persistentvolumeclaim" else Reason.CONFIG_MISSING
        return f"{kind} {found['name']} does not exist in namespace {namespace}: create it", code
    if found := _KEY.search(message):
        return f"{found['kind']} {found['name']} has no key {found['key']}: add it", Reason.CONFIG_MISSING
    if found := _MISSING_KEYS.search(message):
        kind = "Secret" if found["kind"] == "secret" else "ConfigMap"
        return f"a {kind} that it mounts has no key {found['key']}: add it", Reason.CONFIG_MISSING
    return None


def _not_scheduled(pod: Mapping[str, Any], condition: Mapping[str, Any]) -> Why:
    message = _plain(condition.get("message", ""))
    if condition.get("reason") == "SchedulingGated":
        return _gated(pod)
    if found := missing(message, pod):
        return found
    if "unbound immediate PersistentVolumeClaims" in message:
        claims = _claims(pod)
        those = f"one of the claims {', '.join(claims)} has" if len(claims) > 1 else f"claim {', '.join(claims)} has"
        return f"{those} no volume yet", Reason.VOLUME_UNAVAILABLE
    if message.startswith("no nodes available"):
        return "the cluster has no node", Reason.UNSCHEDULABLE
    parsed = _NODES.match(message)
    if parsed is None:
        return f"it is not scheduled: {_short(message) or condition.get('reason', '')}", Reason.UNSCHEDULABLE
    return _nodes(parsed["all"], parsed["causes"].rstrip(". ")), Reason.UNSCHEDULABLE


def _gated(pod: Mapping[str, Any]) -> Why:
    gates = [each.get("name", "") for each in (pod.get("spec") or {}).get("schedulingGates") or ()]
    if any(gate.startswith("kueue.x-k8s.io/") for gate in gates):
        labels = (pod.get("metadata") or {}).get("labels") or {}
        queue = labels.get("kueue.x-k8s.io/queue-name", "")
        return f"queue {queue} has not admitted it yet", Reason.QUEUED
    return f"scheduling gate {', '.join(gates)} holds it", Reason.WAITING


def _nodes(total: str, causes: str) -> str:
    """`3 Insufficient nvidia.com/gpu` of 3 becomes `0/3 nodes have a free nvidia.com/gpu`."""
    parts = [_cause(part.strip()) for part in re.split(r", (?=\d+ )", causes)]
    short = {clause for count, clause, _ in parts if count and clause}
    if len(short) == 1 and all(clause for _, clause, _ in parts) and sum(n for n, _, _ in parts) >= int(total):
        return f"0/{total} nodes {short.pop()}"
    return f"0/{total} nodes can take it: {_short(', '.join(said for _, _, said in parts))}"


def _cause(part: str) -> tuple[int, str, str]:
    """How many nodes, what nodes would have to do (`0/3 nodes …`; empty: nothing short), and the cause told apart."""
    found = re.match(r"(\d+) (.+)", part, re.S)
    if found is None:
        return 0, "", part
    count, cause = int(found[1]), found[2]
    many = count != 1
    if cause.startswith("Insufficient "):
        what = cause.removeprefix("Insufficient ")
        if "/" in what:
            return count, f"have a free {what}", f"{count} {'have' if many else 'has'} no free {what}"
        return count, f"have enough {what} left", f"{count} {'have' if many else 'has'} not enough {what} left"
    if cause == "Too many pods":
        return count, "have room for one more pod", f"{count} {'have' if many else 'has'} no room for one more pod"
    if cause == "node(s) didn't match Pod's node affinity/selector":
        said = f"{count} {'do' if many else 'does'} not match its node selector or affinity"
        return count, "match its node selector or affinity", said
    if cause == "node(s) were unschedulable":
        return count, "take new pods (they are cordoned)", f"{count} {'are' if many else 'is'} cordoned"
    if taint := re.match(r"node\(s\) had untolerated taint(?:\(s\))? ?(\{.*\})?", cause):
        key = f" {taint[1]}" if taint[1] else ""
        said = f"{count} {'have' if many else 'has'} a taint that it does not tolerate{key}"
        return count, "", said
    if cause == "node(s) had volume node affinity conflict":
        return count, "reach its volume", f"{count} {'do' if many else 'does'} not reach its volume"
    return count, "", f"{count} {cause}"


def _image(image: str, message: str) -> str:
    """A remedy where the registry's answer is known, else the last part of it."""
    said = message.lower()
    if "invalidimagename" in said or "couldn't parse image" in said or "invalid reference format" in said:
        return f"{image!r} is no name of an image: correct spec.image"
    if "with pull policy of never" in said:
        return f"image {image} is not on the node, and imagePullPolicy is Never"
    if any(word in said for word in ("unauthorized", "authentication required", "denied", "forbidden", "401", "403")):
        return f"image {image} cannot be pulled: the registry refuses; give imagePullSecrets in workers.template"
    if any(
        word in said for word in ("no such host", "dial tcp", "i/o timeout", "connection refused", "server misbehaving")
    ):
        return f"image {image} cannot be pulled: its registry does not answer"
    if "not found" in said or "manifest unknown" in said:
        return f"image {image} cannot be pulled: there is no such image; correct spec.image"
    return f"image {image} cannot be pulled"


def _not_made(pod: Mapping[str, Any], trouble: str) -> Why | None:
    if found := missing(trouble, pod):
        return found
    if _NODES.match(trouble):
        return None  # it has been scheduled since
    if (waits := _UNMOUNTED.search(trouble)) and (source := _source(pod, re.split(r"[, ]", waits["names"])[0])):
        return source
    if any(word in trouble for word in ("MountVolume", "AttachVolume", "Unable to attach or mount", "Multi-Attach")):
        return f"a volume cannot be mounted: {_short(trouble)}", Reason.VOLUME_UNAVAILABLE
    return _short(trouble), Reason.WAITING


def _source(pod: Mapping[str, Any], volume: str) -> Why | None:
    """What stands behind a volume that the kubelet waits for in vain: at times it tells no more than the name."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    found: Mapping[str, Any] = next((each for each in volumes if each.get("name") == volume), {})
    namespace = (pod.get("metadata") or {}).get("namespace", "")
    for kind, name in (
        ("ConfigMap", (found.get("configMap") or {}).get("name")),
        ("Secret", (found.get("secret") or {}).get("secretName")),
    ):
        if name:
            return (
                f"{kind} {name} cannot be mounted: see that it exists in namespace {namespace}",
                Reason.CONFIG_MISSING,
            )
    claim = (found.get("persistentVolumeClaim") or {}).get("claimName")
    return (f"claim {claim} cannot be mounted on its node", Reason.VOLUME_UNAVAILABLE) if claim else None


def _claims(pod: Mapping[str, Any]) -> list[str]:
    volumes: Iterable[Mapping[str, Any]] = (pod.get("spec") or {}).get("volumes") or ()
    return [v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim")]


def _plain(text: Any) -> str:
    return " ".join(str(text or "").split())


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
