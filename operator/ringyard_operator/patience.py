"""How long a gang may be below `minReplicas`: then the workers go, and the next try comes after 1, 2, 4 … 10 minutes.

Called by `plan`. What it remembers stands in the ledger of the status, so a new operator goes on where the old one was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringyard_api.jobstatus import LedgerEntry, RestartsStatus, rfc3339, seconds
from ringyard_api.trainingjob import TrainingJobSpec

from ringyard_operator.observed import Observed

GANG = "gang-timeout"  # uid of a ledger entry that speaks of the whole gang
_LONGEST = 600.0


@dataclass(frozen=True, kw_only=True)
class Pause:
    """`until`: Unix seconds, None = no pause. `wake_at`: when patience ends, if the gang is below its minimum."""

    until: float | None
    reason: str
    restarts: RestartsStatus
    wake_at: float | None


def look(restarts: RestartsStatus, observed: Observed, spec: TrainingJobSpec, now: float) -> Pause:
    """Whether the gang pauses now, and since when it is impatient."""
    tries = [entry for entry in restarts.ledger if entry.uid == GANG]
    until = _until(tries[-1], len(tries)) if tries else 0.0
    timeout = spec.run_policy.gang_timeout_seconds
    reason = f"fewer than minReplicas ({spec.workers.min_replicas}) workers for gangTimeoutSeconds ({timeout} s)"
    if now < until:
        return Pause(until=until, reason=reason, restarts=restarts, wake_at=None)
    group = observed.group
    since = group.below_minimum_since if group is not None else None
    queued = spec.run_policy.queue is not None and (group is None or group.first_step_at is None)
    if since is None or not observed.workers or queued:  # how long a queue may take is the queue's business
        return Pause(until=None, reason="", restarts=restarts, wake_at=None)
    ends = max(since, until) + timeout
    if now < ends:
        return Pause(until=None, reason="", restarts=restarts, wake_at=ends)
    entry = LedgerEntry(uid=GANG, index=0, attempt=len(tries), reason=reason, at=rfc3339(now))
    written = replace(restarts, ledger=(*restarts.ledger, entry))
    return Pause(until=_until(entry, len(tries) + 1), reason=reason, restarts=written, wake_at=None)


def _until(entry: LedgerEntry, tries: int) -> float:
    return (seconds(entry.at) if entry.at else 0.0) + min(60.0 * 2.0 ** min(tries - 1, 10), _LONGEST)
