"""What every pod of ours is: bound to the Pod Security Standard `restricted`, its root file system never written.

`worker` and `serving` put it into their pods. Kubernetes' documentation, Pod Security Standards, lists the fields.
"""

from __future__ import annotations

from typing import Any

_USER = 65532  # `nonroot` of the images that build on distroless, and of ours


def pod_security() -> dict[str, Any]:
    """securityContext of the pod. A large volume is not walked at each start (OnRootMismatch)."""
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """securityContext of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
