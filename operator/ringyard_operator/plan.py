"""The one decision of the operator: what to do about a job, given what is seen, now. Pure, and the same everywhere.

`kube` and `local` call it in their loop, perform its actions and write its status once. It reads straight down: an
ended job, a result that stands, a failure, a stop, else the gang as it should be. Every branch says why in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ringyard_api.gate import judge as judge_gate
from ringyard_api.jobstatus import EndpointRef, JobStatus, ModelStatus, rfc3339, seconds
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import ServeSpec, TrainingJob

from ringyard_operator import patience, restart, situation
from ringyard_operator.actions import Action, FinishGroup, ForgetWorker, Order, Plan, PublishModel, StartWorker
from ringyard_operator.conditions import Claim, Status, find, merge
from ringyard_operator.observed import EndpointSeen, Observed
from ringyard_operator.progress import with_progress, workers_status
from ringyard_operator.roster import ALIVE, alive, muster, stop_all

FAIL_SECONDS = 5.0  # for the worker that failed to end with its own exit code
OURSELVES = "ringyard.dev/operator"  # in runPolicy.managedBy: the same as leaving it out
_LAST_WORDS = ("FAIL", "RESTART")
LEAVE_SECONDS = 60.0  # for workers to end by themselves once the result stands


def plan(job: TrainingJob, observed: Observed, now: float) -> Plan:
    """What to do about `job` at `now` (Unix seconds): actions, the status to write, a reason, when to look again."""
    status = _figures(job, observed, job.status or JobStatus())
    if is_finished(status):
        return _after_the_end(job, observed, status, now)
    if observed.result is not None:
        return _with_result(job, observed, status, observed.result, now)
    judged = restart.judge(
        status.restarts,
        exits=observed.exits,
        workers=observed.workers,
        hangs=observed.group.hangs if observed.group is not None else (),
        policy=job.spec.run_policy,
        script=bool(job.spec.command),
        now=now,
    )
    status = replace(status, restarts=judged.restarts)
    if judged.failure is not None:
        return _failed(job, observed, status, judged.failure, judged.orders, now)
    if job.spec.run_policy.suspend or observed.stop_requested:
        return _suspended(job, observed, status, now)
    deadline = _deadline(job, status)
    if deadline is not None and now >= deadline:
        sentence = f"still running after activeDeadlineSeconds ({job.spec.run_policy.active_deadline_seconds} s)"
        return _failed(job, observed, status, (Reason.DEADLINE_EXCEEDED, sentence), (), now)
    refusal = observed.refusal
    if refusal is not None and refusal.final and not alive(observed.workers):
        why = (refusal.reason, refusal.sentence)
        return _end(job, status, False, *why, (), [situation.admitted(observed)], now)
    pause = patience.look(status.restarts, observed, job.spec, now)
    if pause.until is not None:
        return _pausing(job, observed, replace(status, restarts=pause.restarts), pause, now)
    return _running(job, observed, status, judged, pause.wake_at, now)


def is_finished(status: JobStatus) -> bool:
    """Whether the job has ended, well or badly."""
    summary = find(status.conditions, ConditionType.SUCCEEDED)
    return summary is not None and summary.status != "Unknown"


def managed_elsewhere(job: TrainingJob) -> bool:
    """Whether another controller looks after the job: then nothing is done about it, and no status is written."""
    return job.spec.run_policy.managed_by not in (None, OURSELVES)


def expiry(job: TrainingJob, status: JobStatus) -> float | None:
    """When a finished job may be deleted (Unix seconds), which is the shell's part: a plan cannot outlive its job."""
    ttl = job.spec.run_policy.ttl_seconds_after_finished
    if ttl is None or not status.completion_time or not is_finished(status):
        return None
    return seconds(status.completion_time) + ttl


def _figures(job: TrainingJob, observed: Observed, status: JobStatus) -> JobStatus:
    status = replace(
        status,
        observed_generation=job.metadata.generation,
        workers=workers_status(job.spec.workers.replicas, observed.workers, observed.group),
        selector=f"ringyard.dev/job={job.metadata.name}",
    )
    if is_finished(status) or observed.result is not None:
        return replace(status, eta_seconds=None, samples_per_second=None)
    return with_progress(status, observed.group, batch_size=job.spec.fit.batch_size if job.spec.fit else None)


# The gang as it should be


def _running(
    job: TrainingJob,
    observed: Observed,
    status: JobStatus,
    judged: restart.Judged,
    clock: float | None,
    now: float,
) -> Plan:
    roster = muster(
        observed.workers,
        replicas=job.spec.workers.replicas,
        given=status.attempts,
        not_before=judged.not_before,
        silent=judged.silent,
        done=bool(job.spec.command),
        may_start=observed.refusal is None,
        now=now,
    )
    begun = observed.workers or any(isinstance(action, StartWorker) for action in roster.actions)
    start_time = status.start_time or (rfc3339(now) if begun else "")
    status = replace(status, attempts=roster.attempts, start_time=start_time)
    claims = situation.claims(job, observed, status, roster.delayed)
    return _plan(
        job,
        status,
        [*judged.orders, *roster.actions],
        [*claims, _not_suspended(status)],
        wake_at=_earliest(clock, roster.wake_at, _deadline(job, status)),
        now=now,
    )


def _not_suspended(status: JobStatus) -> Claim:
    before = find(status.conditions, ConditionType.SUSPENDED)
    if before is None or (before.status == "False" and before.reason != Reason.RESUMED):
        return _claim(ConditionType.SUSPENDED, "False", Reason.NOT_SUSPENDED, "the job is not suspended")
    return _claim(ConditionType.SUSPENDED, "False", Reason.RESUMED, "the job goes on after it was stopped")


def _pausing(job: TrainingJob, observed: Observed, status: JobStatus, pause: patience.Pause, now: float) -> Plan:
    sentence = f"{pause.reason}; the next try is at {rfc3339(pause.until or now)}"
    return _plan(
        job,
        status,
        stop_all(observed.workers, pause.reason),
        [
            _claim(ConditionType.SUCCEEDED, "Unknown", Reason.GANG_TIMEOUT, sentence),
            _claim(ConditionType.RUNNING, "False", Reason.GANG_TIMEOUT, sentence),
            _claim(ConditionType.DEGRADED, "True", Reason.GANG_TIMEOUT, sentence),
        ],
        wake_at=pause.until,
        now=now,
    )


def _suspended(job: TrainingJob, observed: Observed, status: JobStatus, now: float) -> Plan:
    reason = Reason.SUSPENDED if job.spec.run_policy.suspend else Reason.STOPPED
    why = (
        "the job is suspended"
        if job.spec.run_policy.suspend
        else "the job was stopped; it goes on when it is run again"
    )
    status = replace(status, eta_seconds=None, samples_per_second=None)
    left = len(alive(observed.workers))
    if left:
        why = f"{why}: {left} workers leave with a checkpoint"
    else:
        status = replace(status, start_time="")
    forget = [
        ForgetWorker(index=w.index, attempt=w.attempt, uid=w.uid)
        for w in sorted(observed.workers, key=lambda w: (w.index, w.attempt))
        if w.phase not in ALIVE
    ]
    return _plan(
        job,
        status,
        [*stop_all(observed.workers, why), *forget],
        [
            _claim(ConditionType.SUCCEEDED, "Unknown", reason, why),
            _claim(ConditionType.SUSPENDED, "Unknown" if left else "True", reason, why),
            _claim(ConditionType.RUNNING, "False", reason, why),
            _claim(ConditionType.DEGRADED, "False", reason, why),
        ],
        wake_at=None,
        now=now,
    )


# The end


def _with_result(
    job: TrainingJob, observed: Observed, status: JobStatus, result: Mapping[str, Any], now: float
) -> Plan:
    try:
        metrics = {str(name): float(value) for name, value in (result.get("metrics") or {}).items()}
        found = result.get("model")
        model = ModelStatus(uri=str(found["uri"]), digest=str(found["digest"]), metrics=metrics) if found else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        sentence = f"result.json cannot be read: {error!r}"
        return _failed(job, observed, status, (Reason.RESULT_INVALID, sentence), (), now)
    status = replace(status, model=model, progress="100%")
    gate = judge_gate(job.spec.evaluate.gate, metrics)
    verdict = gate.message if job.spec.evaluate.gate else "no gate is set"
    reason = Reason.GATE_REACHED if gate.passed else Reason.GATE_NOT_REACHED
    if not job.spec.evaluate.gate:
        reason = Reason.EVALUATED
    evaluated = _claim(ConditionType.EVALUATED, "True" if gate.passed else "False", reason, verdict)
    actions = _finish(observed, "the result stands")
    if not gate.passed:
        claims = [
            evaluated,
            _claim(ConditionType.PUBLISHED, "False", reason, "the gate was not reached, so it is not served"),
        ]
        return _end(job, status, False, reason, verdict, actions, claims, now)
    serve = job.spec.serve
    if serve is None or model is None:
        why = "the manifest has no `serve`" if serve is None else "the run left no model"
        claims = [evaluated, _claim(ConditionType.PUBLISHED, "False", Reason.NOT_SERVED, why)]
        return _end(job, status, True, Reason.COMPLETED, _trained(job, verdict), actions, claims, now)
    return _publish(job, status, observed.endpoint, serve, model, actions, evaluated, now)


def _publish(
    job: TrainingJob,
    status: JobStatus,
    seen: EndpointSeen | None,
    serve: ServeSpec,
    model: ModelStatus,
    actions: list[Action],
    evaluated: Claim,
    now: float,
) -> Plan:
    name = serve.endpoint
    seen = seen if seen is not None else EndpointSeen(name=name)
    version = seen.digest_version or ""
    status = replace(status, endpoint=EndpointRef(name=name, url=seen.url, version=version))
    trouble = ""
    if seen.foreign:
        trouble = (
            f"something named {name} exists that Ringyard did not make: name another endpoint in spec.serve.endpoint"
        )
    elif seen.version_phase == "FAILED":
        trouble = f"endpoint {name} could not load version {version}: {seen.version_reason or 'no reason was given'}"
    if trouble:
        reason = Reason.FOREIGN_CHILD if seen.foreign else Reason.PUBLISH_FAILED
        claims = [evaluated, _claim(ConditionType.PUBLISHED, "False", reason, trouble)]
        return _end(job, status, False, reason, trouble, actions, claims, now)
    if version and seen.version_phase == "READY":
        sentence = f"endpoint {name} serves the model as version {version}"
        claims = [evaluated, _claim(ConditionType.PUBLISHED, "True", Reason.PUBLISHED, sentence)]
        return _end(job, status, True, Reason.COMPLETED, sentence, actions, claims, now)
    if not version:
        actions.append(PublishModel(endpoint=name, uri=model.uri, digest=model.digest, job=job.metadata.name))
    sentence = f"endpoint {name} loads version {version}" if version else f"the model goes to endpoint {name}"
    if version and seen.version_reason:
        sentence = f"{sentence}: {seen.version_reason}"
    claims = [
        evaluated,
        _claim(ConditionType.SUCCEEDED, "Unknown", Reason.PUBLISHING, sentence),
        _claim(ConditionType.RUNNING, "False", Reason.PUBLISHING, sentence),
        _claim(ConditionType.DEGRADED, "False", Reason.PUBLISHING, sentence),
        _claim(ConditionType.PUBLISHED, "False", Reason.PUBLISHING, sentence),
    ]
    return _plan(job, status, actions, claims, wake_at=None, now=now)


def _failed(
    job: TrainingJob,
    observed: Observed,
    status: JobStatus,
    failure: tuple[Reason, str],
    orders: Iterable[Order],
    now: float,
) -> Plan:
    # Who has ended by itself ends with its own exit code: so its pod stays, with its log. The others are stopped.
    last_words = [replace(order, verb="FAIL", delay_seconds=0.0) for order in orders if order.verb in _LAST_WORDS]
    stops = stop_all(observed.workers, "the job has failed", but={order.uid for order in last_words})
    return _end(job, status, False, failure[0], failure[1], [*last_words, *stops], [], now)


def _end(
    job: TrainingJob,
    status: JobStatus,
    succeeded: bool,
    reason: Reason,
    sentence: str,
    actions: Iterable[Action],
    claims: Iterable[Claim],
    now: float,
) -> Plan:
    status = replace(status, completion_time=rfc3339(now), eta_seconds=None, samples_per_second=None)
    ended = [
        *claims,
        _claim(ConditionType.SUCCEEDED, "True" if succeeded else "False", reason, sentence),
        _claim(ConditionType.FAILED, "False" if succeeded else "True", reason, sentence),
        _claim(ConditionType.RUNNING, "False", reason, sentence),
        _claim(ConditionType.DEGRADED, "False", reason, "the job has ended"),
    ]
    decided = _plan(job, status, actions, ended, wake_at=None, now=now)
    return replace(decided, wake_at=expiry(job, decided.status))


def _after_the_end(job: TrainingJob, observed: Observed, status: JobStatus, now: float) -> Plan:
    """Nothing changes any more; who is still there goes, and what is left is cleaned as the manifest wants it."""
    left = alive(observed.workers)
    ended_at = seconds(status.completion_time) if status.completion_time else now
    patience_ends = ended_at + (LEAVE_SECONDS if observed.result is not None else FAIL_SECONDS)
    actions: list[Action] = []
    if left and observed.result is not None:
        actions = _finish(observed, "the result stands")
    if left and now >= patience_ends:
        actions += stop_all(left, "the job has ended")
    if job.spec.run_policy.clean_pod_policy == "All":
        gone = sorted((w for w in observed.workers if w.phase not in ALIVE), key=lambda w: (w.index, w.attempt))
        actions += [ForgetWorker(index=w.index, attempt=w.attempt, uid=w.uid) for w in gone]
    wake_at = patience_ends if left and now < patience_ends else None
    return _plan(job, status, actions, [], wake_at=_earliest(wake_at, expiry(job, status)), now=now)


# Small parts


def _plan(
    job: TrainingJob,
    status: JobStatus,
    actions: Iterable[Action],
    claims: Iterable[Claim],
    *,
    wake_at: float | None,
    now: float,
) -> Plan:
    conditions = merge(status.conditions, claims, generation=job.metadata.generation, now=now)
    summary = find(conditions, ConditionType.SUCCEEDED)
    return Plan(
        actions=tuple(actions),
        status=replace(status, conditions=conditions),
        reason=summary.message if summary is not None else "",
        wake_at=wake_at,
    )


def _trained(job: TrainingJob, verdict: str) -> str:
    return "the script has ended well in every worker" if job.spec.command else f"the model is trained; {verdict}"


def _finish(observed: Observed, reason: str) -> list[Action]:
    known = observed.group is not None and observed.group.finishing
    return [FinishGroup(reason=reason)] if alive(observed.workers) and not known else []


def _deadline(job: TrainingJob, status: JobStatus) -> float | None:
    limit = job.spec.run_policy.active_deadline_seconds
    return seconds(status.start_time) + limit if limit is not None and status.start_time else None


def _claim(kind: ConditionType, status: Status, reason: Reason, message: str) -> Claim:
    return Claim(type=kind, status=status, reason=reason, message=message)


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
