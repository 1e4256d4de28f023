"""Why the API server takes no pod of ours: its answer as a `Refusal`, in its own words where they are the remedy.

Called where a pod is made or shown. A dry run is no quota's business: what only says that there is no room now, or
that a webhook takes no dry runs, refuses no template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringyard_api.reasons import Reason

from ringyard_operator.errors import KubeError, KubeForbidden, KubeInvalid, KubeNotFound
from ringyard_operator.observed import Refusal
from ringyard_operator.waiting import missing

_LONGEST = 600


def of_creation(error: KubeError, pod: Mapping[str, Any]) -> Refusal | None:
    """Why the pod could not be made; None where only another try can tell."""
    said, namespace = _plain(error.message), pod["metadata"]["namespace"]
    if isinstance(error, KubeInvalid):
        return Refusal(reason=Reason.TEMPLATE_REFUSED, sentence=f"the API server refuses the worker's pod: {said}")
    if isinstance(error, KubeNotFound) or "being terminated" in said:
        sentence = f"namespace {namespace} is being deleted: no worker can be made in it"
        return Refusal(reason=Reason.NAMESPACE_TERMINATING, sentence=sentence)
    if not isinstance(error, KubeForbidden):
        return None
    if "exceeded quota" in said or "failed quota" in said:
        return Refusal(reason=Reason.QUOTA_EXCEEDED, sentence=f"no room in namespace {namespace}: {_quota(said)}")
    if found := missing(said, pod):
        return Refusal(reason=found[1], sentence=found[0])
    return Refusal(reason=Reason.FORBIDDEN, sentence=f"a worker's pod is not admitted: {said}")


def of_template(error: KubeError) -> Refusal | None:
    """Whether the answer to a dry run says that no such pod can ever be."""
    said = _plain(error.message)
    if not isinstance(error, KubeInvalid) or "dry run" in said.lower():
        return None
    sentence = f"spec.workers.template: the API server refuses the worker's pod: {said}"
    return Refusal(reason=Reason.TEMPLATE_REFUSED, sentence=sentence, final=True)


def foreign(kind: str, name: str) -> Refusal:
    """Somebody else's object stands where ours should."""
    sentence = f"{kind} {name} exists and is not this job's: delete it, or give the job another name"
    return Refusal(reason=Reason.FOREIGN_CHILD, sentence=sentence)


def _quota(said: str) -> str:
    """`exceeded quota: small, requested: …` out of the API server's sentence; figures that change are left out."""
    at = max(said.find("exceeded quota"), said.find("failed quota"))
    return ", ".join(part for part in said[at:].split(", ") if not part.startswith("used:"))


def _plain(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
