"""Conditions as kstatus and `kubectl wait` want them: a status that does not change keeps its time.

Called by `plan` once, at the end of a decision. It knows how conditions change, not what they mean (KEP-1623).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ringyard_api.jobstatus import Condition, rfc3339
from ringyard_api.reasons import ConditionType, Reason

Status = Literal["True", "False", "Unknown"]
_ORDER = tuple(ConditionType)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is said to hold now."""

    type: ConditionType
    status: Status
    reason: Reason
    message: str


def merge(
    before: Sequence[Condition], claims: Iterable[Claim], *, generation: int, now: float
) -> tuple[Condition, ...]:
    """The conditions before with the claims in their place, in a fixed order. The time moves only with the status."""
    known = {condition.type: condition for condition in before}
    for claim in claims:
        old = known.get(claim.type)
        changed = old is None or old.status != claim.status
        known[claim.type] = Condition(
            type=claim.type.value,
            status=claim.status,
            reason=claim.reason.value,
            message=claim.message,
            last_transition_time=rfc3339(now) if old is None or changed else old.last_transition_time,
            observed_generation=generation,
        )
    rank = {kind.value: place for place, kind in enumerate(_ORDER)}
    return tuple(sorted(known.values(), key=lambda c: (rank.get(c.type, len(rank)), c.type)))


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == kind.value), None)


def holds(conditions: Iterable[Condition], kind: ConditionType) -> bool:
    """Whether the condition of that type is True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"
