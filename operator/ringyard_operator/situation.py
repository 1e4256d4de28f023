"""The conditions of a job that runs, or is about to: where it is, and why it is not further, in one sentence.

Called by `plan`. It changes nothing and decides nothing: it names what is.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringyard_api.jobstatus import JobStatus, rfc3339
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.conditions import Claim, Status
from ringyard_operator.observed import GroupSeen, Observed, WorkerPhase, WorkerSeen
from ringyard_operator.restart import WORKER

_PHASES = {"EVALUATING": "the model is evaluated", "EXPORTING": "the model is exported", "FINISHED": "the run ends"}


def claims(job: TrainingJob, observed: Observed, status: JobStatus, delayed: Mapping[int, float]) -> list[Claim]:
    """Admitted, Running, Degraded, Failed and the summary."""
    group, desired, ready = observed.group, status.workers.desired, status.workers.ready
    missing = "; ".join(_missing(job, observed, status, delayed))
    in_view = group is not None and group.epoch > 0 and ready > 0
    if not in_view:
        reason, sentence = _why_not(job, group, status, missing)
    elif group is not None and group.phase in _PHASES and (group.phase != "EVALUATING" or _all_steps_done(group)):
        reason, sentence = Reason.EVALUATING, _PHASES[group.phase]
    elif ready < desired:
        reason, sentence = Reason.DEGRADED, f"{ready} of {desired} workers train: {missing or 'the others join'}"
    else:
        reason, sentence = Reason.RUNNING, f"{ready} of {desired} workers train"
    if group is not None and group.note:
        sentence = f"{sentence} ({group.note})"
    degraded = (in_view and ready < desired) or reason in (Reason.BELOW_MIN_REPLICAS, Reason.RESTARTING)
    whole = Reason.ALL_WORKERS_READY if ready >= desired else Reason.STARTING
    return [
        _claim(ConditionType.SUCCEEDED, "Unknown", reason, sentence),
        _claim(ConditionType.ADMITTED, "True", Reason.ADMITTED, "nothing holds the job back"),
        _claim(ConditionType.RUNNING, "True" if in_view else "False", reason, sentence),
        _claim(
            ConditionType.DEGRADED,
            "True" if degraded else "False",
            reason if degraded else whole,
            sentence if degraded else f"{ready} of {desired} workers train",
        ),
        _claim(ConditionType.FAILED, "False", Reason.RUNNING, "the job has not failed"),
    ]


def _all_steps_done(group: GroupSeen) -> bool:
    """Only then is it the run that is evaluated; a look at the validation part between two epochs is training."""
    return group.total_steps > 0 and group.step >= group.total_steps


def _why_not(job: TrainingJob, group: GroupSeen | None, status: JobStatus, missing: str) -> tuple[Reason, str]:
    waiting = group.waiting_reason if group is not None else ""
    sentence = "; ".join(part for part in (waiting, missing) if part) or "the workers are being started"
    ran = group is not None and (group.first_step_at is not None or group.view_changes > 0)
    if ran and group is not None and group.below_minimum_since is not None:
        return Reason.BELOW_MIN_REPLICAS, sentence
    if any(entry.counted for entry in status.restarts.ledger) and missing and "again" in missing:
        return Reason.RESTARTING, sentence
    live = status.workers.live >= max(1, job.spec.workers.min_replicas or 1)
    return (Reason.LOADING if live else Reason.STARTING), sentence


def _missing(job: TrainingJob, observed: Observed, status: JobStatus, delayed: Mapping[int, float]) -> list[str]:
    """One clause for each wanted worker that does not train."""
    members = observed.group.members if observed.group is not None else ()
    training = {m.index for m in members if m.in_view}
    newest = {w.index: w for w in sorted(observed.workers, key=lambda w: w.attempt)}
    waiting = {e.uid: e for e in observed.exits}
    clauses = []
    for index in range(job.spec.workers.replicas):
        worker = newest.get(index)
        if index in training or worker is None:
            continue
        if index in delayed:
            clauses.append(f"{_last_words(status, index)}, it starts again at {rfc3339(delayed[index])}")
        elif worker.uid in waiting:
            clauses.append(f"{_last_words(status, index)}, its process starts again")
        elif worker.phase is WorkerPhase.PENDING and worker.waiting_reason:
            clauses.append(f"worker {index} is pending: {worker.waiting_reason}")
        elif worker.phase is WorkerPhase.TERMINATING:
            clauses.append(f"worker {index} is leaving")
        elif worker.phase is WorkerPhase.RUNNING:
            clauses.append(_loads(observed.group, status, worker))
    return clauses


def _loads(group: GroupSeen | None, status: JobStatus, worker: WorkerSeen) -> str:
    """A worker that runs and does not train: it loads, for the first time or after an end."""
    lost = f"worker {worker.index} was lost"
    if any(entry.uid == worker.uid for entry in status.restarts.ledger):
        return f"{_last_words(status, worker.index)}, it loads again"
    if group is not None and lost in group.view_reason:
        return lost
    return f"worker {worker.index} loads"


def _last_words(status: JobStatus, index: int) -> str:
    mine = [e for e in status.restarts.ledger if e.index == index and e.process_attempt >= WORKER and e.reason]
    return mine[-1].reason if mine else f"worker {index} has ended"


def _claim(kind: ConditionType, status: Status, reason: Reason, message: str) -> Claim:
    return Claim(type=kind, status=status, reason=reason, message=message)
