"""Writes a status, once a turn at most and only what changed: server-side apply of the whole of it by one manager.

Called by the keepers. The resourceVersion that it was decided on goes along, so two deciders can never undo each other
(the second gets `KubeConflict` and decides anew). It knows no meaning of what it writes.
"""

from __future__ import annotations

from typing import Any

from ringyard_api.loading import to_object

from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import Kind
from ringyard_operator.kube.known import Known

MANAGER = "ringyard"


async def write_status(api: Api, known: Known, kind: Kind, obj: Json, status: Any) -> Json:
    """Puts `status` in the place of what `obj` has. Returns the object as it is then.

    Raises KubeConflict where somebody wrote the object since, and KubeNotFound where it is gone.
    """
    metadata = obj["metadata"]
    body = {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "status": to_object(status),
    }
    written = await api.apply(kind, body, manager=MANAGER, subresource="status")
    if written.get("status", {}) != body["status"]:  # what somebody else wrote into it outlives an apply
        written = await api.replace(kind, {**written, "status": body["status"]}, subresource="status")
    known.remember(kind.kind, written)
    return written
