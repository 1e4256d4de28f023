"""Why the API server takes no pod of ours: its error as a `Refusal`.

Called where a pod is made or shown. A dry run is no quota's business: what only says that there is no room now, or
that a webhook takes no dry runs, refuses no template. What the words mean, `ringyard_operator.refusal` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringyard_api.reasons import Reason

from ringyard_operator.errors import KubeError, KubeForbidden, KubeInvalid, KubeNotFound
from ringyard_operator.observed import Refusal
from ringyard_operator.refusal import refusal_of_answer


def of_creation(error: KubeError, pod: Mapping[str, Any]) -> Refusal | None:
    """Why the pod could not be made; None where only another try can tell."""
    if not isinstance(error, (KubeInvalid, KubeNotFound, KubeForbidden)):
        return None
    return refusal_of_answer(error.status, error.message, namespace=pod["metadata"]["namespace"])


def of_template(error: KubeError) -> Refusal | None:
    """Whether the answer to a dry run says that no such pod can ever be."""
    found = refusal_of_answer(error.status, error.message, namespace="") if isinstance(error, KubeInvalid) else None
    return found if found is not None and found.final else None


def foreign(kind: str, name: str) -> Refusal:
    """Somebody else's object stands where ours should."""
    sentence = f"{kind} {name} exists and is not this job's: delete it, or give the job another name"
    return Refusal(reason=Reason.FOREIGN_CHILD, sentence=sentence)
