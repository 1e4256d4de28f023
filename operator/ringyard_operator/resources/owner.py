"""Who owns an object: the reference that lets the garbage collector remove children, and the look whether one is ours.

`resources` writes it, `kube` asks it before it touches anything that has the name of a child.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob


def reference(owner: TrainingJob | ModelEndpoint) -> dict[str, Any]:
    """The controller ownerReference to `owner`.

    blockOwnerDeletion is false: a deletion of the owner in the foreground then waits for no child, and no right to
    update `finalizers` is needed (admission plugin OwnerReferencesPermissionEnforcement).
    """
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_ours(obj: Mapping[str, Any], uid: str) -> bool:
    """Whether `obj` is controlled by the owner with that uid. Anything else of the same name is never adopted."""
    references = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return any(each.get("controller") and each.get("uid") == uid for each in references)
