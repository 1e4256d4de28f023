"""The conditions of a job that runs, or is about to: where it is, and why it is not further, in one sentence.

Called by `plan`. It changes nothing and decides nothing: it names what is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from ringyard_api.jobstatus import JobStatus, rfc3339
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.conditions import Claim, Status
from ringyard_operator.observed import GroupSeen, Observed, WorkerPhase, WorkerSeen
from ringyard_operator.restart import WORKER

_COMING = (WorkerPhase.PENDING, WorkerPhase.RUNNING)
_PHASES = {"EVALUATING": "the model is evaluated", "EXPORTING": "the model is exported", "FINISHED": "the run ends"}


def claims(job: TrainingJob, observed: Observed, status: JobStatus, delayed: Mapping[int, float]) -> list[Claim]:
    """Admitted, Running, Degraded, Failed and the summary."""
    group, ready = observed.group, status.workers.ready
    done = _done(job, observed)
    desired = status.workers.desired - len(done)
    refusal = observed.refusal
    clauses = _missing(job, observed, status, delayed, done)
    if refusal is not None:
        clauses.insert(0, refusal.sentence)
    missing = "; ".join(clauses)
    in_view = group is not None and group.epoch > 0 and ready > 0
    if done and not desired:
        reason, sentence = Reason.EVALUATING, "the script has ended well in every worker"
    elif not in_view:
        reason, sentence = _why_not(job, observed, status, missing)
    elif group is not None and group.phase in _PHASES and (group.phase != "EVALUATING" or _all_steps_done(group)):
        reason, sentence = Reason.EVALUATING, _PHASES[group.phase]
    elif ready < desired:
        reason, sentence = Reason.DEGRADED, f"{ready} of {desired} workers train: {missing or 'the others join'}"
    else:
        reason, sentence = Reason.RUNNING, f"{ready} of {desired} workers train"
    if group is not None and group.note:
        sentence = f"{sentence} ({group.note})"
    trained = in_view or _ran(group)  # who has not begun yet lacks nobody
    degraded = trained and (reason in (Reason.BELOW_MIN_REPLICAS, Reason.RESTARTING) or (in_view and ready < desired))
    whole = Reason.ALL_WORKERS_READY if ready >= desired else Reason.STARTING
    return [
        _claim(ConditionType.SUCCEEDED, "Unknown", reason, sentence),
        admitted(observed),
        _claim(ConditionType.RUNNING, "True" if in_view else "False", reason, sentence),
        _claim(
            ConditionType.DEGRADED,
            "True" if degraded else "False",
            reason if degraded else whole,
            sentence if degraded else f"{ready} of {desired} workers train",
        ),
        _claim(ConditionType.FAILED, "False", Reason.RUNNING, "the job has not failed"),
    ]


def admitted(observed: Observed) -> Claim:
    """Whether workers may be made, or what holds them back."""
    if observed.refusal is not None:
        return _claim(ConditionType.ADMITTED, "False", observed.refusal.reason, observed.refusal.sentence)
    queued = next((w for w in observed.workers if w.waiting_code is Reason.QUEUED), None)
    if queued is not None:
        return _claim(ConditionType.ADMITTED, "False", Reason.QUEUED, queued.waiting_reason)
    return _claim(
        ConditionType.ADMITTED, "True", Reason.ADMITTED, "; ".join(("nothing holds the job back", *observed.notes))
    )


def _all_steps_done(group: GroupSeen) -> bool:
    """Only then is it the run that is evaluated; a look at the validation part between two epochs is training."""
    return group.total_steps > 0 and group.step >= group.total_steps


def _ran(group: GroupSeen | None) -> bool:
    """Whether there was a view before."""
    return group is not None and (group.first_step_at is not None or group.view_changes > 0)


def _done(job: TrainingJob, observed: Observed) -> set[int]:
    """Indices whose script has ended well and that are of no gang any more: they are done, and nobody misses them."""
    if not job.spec.command:
        return set()
    members = observed.group.members if observed.group is not None else ()
    well = {e.uid for e in observed.exits if e.exit_code == 0 and not e.consequence}
    newest = {w.index: w for w in sorted(observed.workers, key=lambda w: w.attempt)}
    ended = {i for i, w in newest.items() if w.phase is WorkerPhase.SUCCEEDED or w.uid in well}
    return {i for i in ended if i < job.spec.workers.replicas} - {m.index for m in members if m.in_view}


def _why_not(job: TrainingJob, observed: Observed, status: JobStatus, missing: str) -> tuple[Reason, str]:
    group = observed.group
    waiting = group.waiting_reason if group is not None and status.workers.live else ""
    sentence = "; ".join(part for part in (waiting, missing) if part) or "the workers are being started"
    if _ran(group) and group is not None and group.below_minimum_since is not None:
        return Reason.BELOW_MIN_REPLICAS, sentence
    if any(entry.counted for entry in status.restarts.ledger) and missing and "again" in missing:
        return Reason.RESTARTING, sentence
    if observed.refusal is not None:
        return observed.refusal.reason, sentence
    if status.workers.live >= job.spec.workers.min_replicas:
        return Reason.LOADING, sentence
    codes = Counter(w.waiting_code for w in observed.workers if w.waiting_code is not None)
    return (codes.most_common(1)[0][0] if codes else Reason.STARTING), sentence


def _missing(
    job: TrainingJob, observed: Observed, status: JobStatus, delayed: Mapping[int, float], done: Collection[int]
) -> list[str]:
    """One clause for each wanted worker that does not train; those that load, or wait for the same, share one."""
    members = observed.group.members if observed.group is not None else ()
    training = {m.index for m in members if m.in_view}
    newest = {w.index: w for w in sorted(observed.workers, key=lambda w: w.attempt)}
    waiting = {e.uid: e for e in observed.exits}
    clauses: list[str] = []
    loading: list[int] = []
    waits: dict[str, list[int]] = defaultdict(list)
    for index in range(job.spec.workers.replicas):
        worker = newest.get(index)
        if index in training or index in done or worker is None:
            continue
        if index in delayed:
            clauses.append(f"{_last_words(status, index)}, it starts again at {rfc3339(delayed[index])}")
        elif worker.uid in waiting:
            clauses.append(f"{_last_words(status, index)}, its process starts again")
        elif worker.phase is WorkerPhase.PENDING and worker.waiting_reason:
            waits[worker.waiting_reason].append(index)
        elif worker.phase is WorkerPhase.TERMINATING:
            clauses.append(f"worker {index} is leaving")
        elif worker.phase in _COMING and (lost := _lost(observed.group, status, worker)):
            clauses.append(lost)
        elif worker.phase is WorkerPhase.RUNNING:
            loading.append(index)
    clauses += [_wait(why, indices, job.spec.workers.replicas) for why, indices in waits.items()]
    if loading:
        one = len(loading) == 1
        clauses.append(f"worker{'' if one else 's'} {', '.join(map(str, loading))} {'loads' if one else 'load'}")
    return clauses


def _wait(why: str, indices: list[int], wanted: int) -> str:
    who = f"worker {indices[0]} waits" if len(indices) == 1 else f"{len(indices)} of {wanted} workers wait"
    return f"{who}: {why}"


def _lost(group: GroupSeen | None, status: JobStatus, worker: WorkerSeen) -> str:
    """Of a worker that does not train yet: how it came to that, or nothing if it loads for the first time."""
    lost = f"worker {worker.index} was lost"
    before = (worker.index, worker.attempt - 1, WORKER)
    ended = [e.reason for e in status.restarts.ledger if (e.index, e.attempt, e.process_attempt) == before]
    if ended:
        return f"{ended[-1]}, the next one {'loads' if worker.phase is WorkerPhase.RUNNING else 'starts'}"
    if worker.phase is not WorkerPhase.RUNNING:
        return ""
    if any(entry.uid == worker.uid for entry in status.restarts.ledger):
        return f"{_last_words(status, worker.index)}, it loads again"
    return lost if group is not None and lost in group.view_reason else ""


def _last_words(status: JobStatus, index: int) -> str:
    mine = [e for e in status.restarts.ledger if e.index == index and e.process_attempt >= WORKER and e.reason]
    return mine[-1].reason if mine else f"worker {index} has ended"


def _claim(kind: ConditionType, status: Status, reason: Reason, message: str) -> Claim:
    return Claim(type=kind, status=status, reason=reason, message=message)
