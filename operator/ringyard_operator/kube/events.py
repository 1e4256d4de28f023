"""Events of core/v1: one sentence for whoever runs `kubectl describe`, when a condition says something new.

Called by the keepers after a status was written. What was stored before is what is compared with, so a restart repeats
nothing. An Event that cannot be written is no reason to stop: the condition says the same.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ringyard_api.jobstatus import Condition, rfc3339
from ringyard_api.reasons import ConditionType, Reason

from ringyard_operator.errors import RingyardError
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import EVENTS

COMPONENT = "ringyard-operator"
_LONGEST = 1024  # of a message: the API server takes no more
_WAITS = frozenset({  # what a person has to do something about, though the job has not failed
    Reason.UNSCHEDULABLE, Reason.IMAGE_UNAVAILABLE, Reason.CONFIG_MISSING, Reason.VOLUME_UNAVAILABLE,
    Reason.CONTAINER_REFUSED, Reason.QUOTA_EXCEEDED, Reason.TEMPLATE_REFUSED, Reason.FORBIDDEN, Reason.FOREIGN_CHILD,
    Reason.NAMESPACE_TERMINATING, Reason.NOT_SUPPORTED, Reason.BELOW_MIN_REPLICAS, Reason.RESTARTING,
    Reason.GANG_TIMEOUT, Reason.PUBLISH_FAILED, Reason.GATE_NOT_REACHED,
})  # fmt: skip
_TROUBLE = frozenset({ConditionType.DEGRADED, ConditionType.FAILED})  # conditions that are bad when they hold
_QUIET = frozenset({*_TROUBLE, ConditionType.SUSPENDED})  # that one of these does not hold is no news, at first

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One Event to be."""

    reason: str
    message: str
    warning: bool


def news(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Said, ...]:
    """What changed between two statuses; conditions that say the same share one Event."""
    known = {condition.type: condition for condition in before}
    found: dict[tuple[str, str], Said] = {}
    for condition in after:
        old = known.get(condition.type)
        if not _is_news(old, condition):
            continue
        key = (condition.reason, condition.message)
        warning = _is_warning(condition) or (key in found and found[key].warning)
        found[key] = Said(reason=condition.reason, message=condition.message, warning=warning)
    return tuple(found.values())


def _is_news(old: Condition | None, new: Condition) -> bool:
    if old is not None and (old.status, old.reason) == (new.status, new.reason):
        return False
    if new.type in _QUIET and new.status == "False":
        return old is not None and old.status != "False" and new.reason != Reason.STARTING
    return True


def _is_warning(condition: Condition) -> bool:
    return condition.reason in _WAITS or (condition.type in _TROUBLE and condition.status == "True")


async def post(api: Api, obj: Mapping[str, Any], said: Sequence[Said], *, now: float, instance: str) -> None:
    """Writes the Events about `obj`."""
    metadata = obj["metadata"]
    for each in said:
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": "Warning" if each.warning else "Normal",
            "reason": each.reason,
            "message": each.message if len(each.message) <= _LONGEST else each.message[: _LONGEST - 1] + "…",
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "count": 1,
            "reportingComponent": COMPONENT,
            "reportingInstance": instance,
            "source": {"component": COMPONENT},
        }
        try:
            await api.create(EVENTS, body)
        except RingyardError as error:
            log.debug("no Event for %s/%s: %s", metadata["namespace"], metadata["name"], error)
