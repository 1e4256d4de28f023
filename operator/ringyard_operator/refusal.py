"""Why no worker of a job can be made now, and whether that is final: from a manifest, or from an API server's answer.

`kube` calls it before it makes anything, and with what a create or a dry run was answered. What can be mended in place
is waited for; what cannot be changed any more (TRAININGJOB.md §Defaults, edits, names) ends the job.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ringyard_api.podtemplate import ROOT
from ringyard_api.problems import Problem
from ringyard_api.reasons import Reason
from ringyard_api.validation import immutable_paths

from ringyard_operator.observed import Refusal

_PREFIX = re.compile(r"^(?:[A-Za-z./]+ )?\"[^\"]*\" is (?:forbidden|invalid): ")  # names the pod, so never the same
_DECODING = re.compile(r"^.* cannot be handled as a Pod: (?:strict decoding error: )?")
_QUOTA = re.compile(r"exceeded quota: (?P<name>\S+), requested: (?P<rest>.+)")
_USED = re.compile(r"used: .*?, (?=limited: )")  # changes with every pod
_SERVICE_ACCOUNT = re.compile(r"serviceaccount \"(?P<name>[^\"]+)\" not found")
_PRIORITY = re.compile(r"no PriorityClass with name (?P<name>\S+) was found")
_INVALID = (400, 422)
_LONGEST = 600


def refusal_of(problems: Sequence[Problem]) -> Refusal | None:
    """All problems of a manifest in one sentence; None where there are none. Those that no edit can mend come first."""
    if not problems:
        return None
    fixed = immutable_paths()
    lasting = [each for each in problems if _within(each.path, fixed)]
    first = lasting or list(problems)
    template = any(each.path.startswith(ROOT) for each in first)
    reason = Reason.TEMPLATE_REFUSED if template else Reason.NOT_SUPPORTED
    return Refusal(reason=reason, sentence=_short("; ".join(map(str, first))), final=bool(lasting))


def refusal_of_answer(status: int, message: str, *, namespace: str, what: str = "worker") -> Refusal | None:
    """What an API server's refusal of a pod means: HTTP status and its message. None where it is no refusal of the pod
    (it exists, or nobody answered). The sentence is the same for each try.
    """
    said = _DECODING.sub("", _PREFIX.sub("", " ".join(message.split())))
    if "dry run" in said.lower():
        return None  # of a webhook that takes none
    if "being terminated" in said or (status == 404 and "namespaces" in said):
        sentence = f"namespace {namespace} is being deleted: nothing can be made in it"
        return Refusal(reason=Reason.NAMESPACE_TERMINATING, sentence=sentence)
    if "admission webhook" in said:
        return Refusal(reason=Reason.FORBIDDEN, sentence=_short(f"no {what} may be made: {said}"))
    if status in _INVALID:
        sentence = f"{ROOT}: the API server refuses the pod: {said}"
        return Refusal(reason=Reason.TEMPLATE_REFUSED, sentence=_short(sentence), final=True)
    return _forbidden(said, namespace, what) if status == 403 else None


def _forbidden(said: str, namespace: str, what: str) -> Refusal:
    if found := _QUOTA.search(said):
        rest = _USED.sub("", found["rest"])
        sentence = f"quota {found['name']} of namespace {namespace} is exceeded: one more {what} asks for {rest}"
        return Refusal(reason=Reason.QUOTA_EXCEEDED, sentence=_short(sentence))
    if found := _SERVICE_ACCOUNT.search(said):
        sentence = f"ServiceAccount {found['name']} does not exist in namespace {namespace}: create it"
        return Refusal(reason=Reason.CONFIG_MISSING, sentence=sentence)
    if found := _PRIORITY.search(said):
        return Refusal(
            reason=Reason.CONFIG_MISSING, sentence=f"PriorityClass {found['name']} does not exist: create it"
        )
    return Refusal(reason=Reason.FORBIDDEN, sentence=_short(f"no {what} may be made in namespace {namespace}: {said}"))


def _within(path: str, fixed: Sequence[str]) -> bool:
    """Whether a problem stands where no edit is allowed; one of the spec as a whole does."""
    return path in ("", "spec", "metadata.name") or any(path == f or path.startswith((f"{f}.", f"{f}[")) for f in fixed)


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 1] + "…"
