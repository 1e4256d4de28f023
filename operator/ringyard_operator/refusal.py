"""From what is wrong with a job to whether it may ever run: the sentence and its finality.

`kube` calls it with the problems of a manifest before it makes anything. What can be mended in place is waited for;
what cannot be changed any more (TRAININGJOB.md §Defaults, edits, names) ends the job.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringyard_api.podtemplate import ROOT
from ringyard_api.problems import Problem
from ringyard_api.reasons import Reason
from ringyard_api.validation import immutable_paths

from ringyard_operator.observed import Refusal


def refusal_of(problems: Sequence[Problem]) -> Refusal | None:
    """All problems in one sentence; None where there are none. Those that no edit can mend come first."""
    if not problems:
        return None
    fixed = immutable_paths()
    lasting = [each for each in problems if _within(each.path, fixed)]
    first = lasting or list(problems)
    sentence = "; ".join(str(each) for each in first)
    template = any(each.path.startswith(ROOT) for each in first)
    reason = Reason.TEMPLATE_REFUSED if template else Reason.NOT_SUPPORTED
    return Refusal(reason=reason, sentence=sentence, final=bool(lasting))


def _within(path: str, fixed: Sequence[str]) -> bool:
    return path in ("", "spec", "metadata.name") or any(
        path == each or path.startswith((f"{each}.", f"{each}[")) for each in fixed
    )
