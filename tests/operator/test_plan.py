"""The plan, case by case: what is done, what the status says, when to look again (other operators' cases replayed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ringyard_api.jobstatus import Condition, JobStatus, rfc3339
from ringyard_api.trainingjob import (
    EvaluateSpec,
    GateSpec,
    ModelSpec,
    ObjectMeta,
    RunPolicySpec,
    ServeSpec,
    TrainingJob,
    TrainingJobSpec,
    WorkersSpec,
)
from ringyard_operator.actions import Order, Plan, PublishModel, StartWorker, StopWorker
from ringyard_operator.observed import (
    EndpointSeen,
    ExitSeen,
    GoneBecause,
    GroupSeen,
    HangSeen,
    MemberSeen,
    Observed,
    WorkerPhase,
    WorkerSeen,
)
from ringyard_operator.plan import plan

NOW = 1_795_000_000.0
RESULT = {
    "metrics": {"accuracy": 0.9},
    "gate": None,
    "model": {"uri": "file:///runs/digits-1/model", "digest": "sha256:" + "a" * 64},
}


def job(replicas: int = 3, minimum: int = 1, *, spec: dict[str, Any] | None = None, **policy: Any) -> TrainingJob:
    fields: dict[str, Any] = {
        "workers": WorkersSpec(replicas=replicas, min_replicas=minimum),
        "model": ModelSpec(factory="ringyard_trainer.models:mlp"),
        "run_policy": RunPolicySpec(**policy),
    }
    return TrainingJob(
        metadata=ObjectMeta(name="digits", uid="1", generation=7), spec=TrainingJobSpec(**{**fields, **(spec or {})})
    )


def worker(index: int, phase: WorkerPhase = WorkerPhase.RUNNING, attempt: int = 0, **more: Any) -> WorkerSeen:
    return WorkerSeen(index=index, attempt=attempt, uid=f"u{index}-{attempt}", phase=phase, created_at=NOW - 60, **more)


def group(members: Sequence[int] = (0, 1, 2), **more: Any) -> GroupSeen:
    seen = tuple(
        MemberSeen(
            index=i,
            process=0,
            uid=f"u{i}-0",
            process_attempt=0,
            phase="TRAINING",
            step=40,
            address="",
            in_view=True,
            entered_op=0,
            progress_at=NOW,
        )
        for i in members
    )
    fields: dict[str, Any] = {
        "term": 1,
        "epoch": 1 if members else 0,
        "members": seen,
        "view_size": len(seen),
        "phase": "TRAINING",
        "step": 40,
        "total_steps": 100,
        "first_step_at": NOW - 9,
    }
    return GroupSeen(**{**fields, **more})


def running(replicas: int = 3, **more: Any) -> Observed:
    return Observed(workers=tuple(worker(i) for i in range(replicas)), group=group(range(replicas)), **more)


def condition(made: Plan, kind: str) -> Condition:
    return next(c for c in made.status.conditions if c.type == kind)


def says(made: Plan, kind: str) -> tuple[str, str]:
    found = condition(made, kind)
    return found.status, found.reason


def after(before: TrainingJob, made: Plan) -> TrainingJob:
    return replace(before, status=made.status)


def kinds(made: Plan) -> list[str]:
    return [type(action).__name__ for action in made.actions]


def test_a_new_job_starts_all_its_workers_and_admits_that_it_does_not_run_yet() -> None:
    made = plan(job(), Observed(), NOW)
    assert made.actions == tuple(StartWorker(index=i, attempt=0, reason="wanted") for i in range(3))
    assert says(made, "Succeeded") == ("Unknown", "Starting") and says(made, "Running")[0] == "False"
    assert made.status.start_time == rfc3339(NOW) and made.status.observed_generation == 7
    assert made.status.attempts == {"0": 0, "1": 0, "2": 0} and says(made, "Suspended") == ("False", "NotSuspended")


def test_a_job_suspended_at_creation_gets_no_worker_and_no_start_time() -> None:
    made = plan(job(suspend=True), Observed(), NOW)
    assert made.actions == () and made.status.start_time == ""
    assert says(made, "Suspended") == ("True", "Suspended") and says(made, "Succeeded")[0] == "Unknown"


def test_a_training_job_says_how_far_it_is_and_does_nothing() -> None:
    made = plan(job(), running(), NOW)
    assert made.actions == () and says(made, "Running") == ("True", "Running")
    assert made.status.progress == "40%" and made.status.workers.summary == "3/3"
    assert says(made, "Degraded")[0] == "False" and made.reason == "3 of 3 workers train"


def test_suspending_a_running_job_stops_all_and_resuming_makes_new_attempts_and_a_new_start_time() -> None:
    first = plan(job(), Observed(), NOW)
    made = plan(after(job(suspend=True), first), running(), NOW + 5)
    assert kinds(made) == ["StopWorker"] * 3 and says(made, "Suspended")[0] == "Unknown"
    gone = tuple(
        worker(i, WorkerPhase.FAILED, exit_code=143, gone_because=GoneBecause.TOLD, finished_at=NOW) for i in range(3)
    )
    made = plan(after(job(suspend=True), made), Observed(workers=gone), NOW + 9)
    assert kinds(made) == ["ForgetWorker"] * 3 and says(made, "Suspended")[0] == "True"
    assert made.status.start_time == "" and made.status.restarts.counted == 0
    made = plan(after(job(), made), Observed(), NOW + 100)
    assert [a.attempt for a in made.actions if isinstance(a, StartWorker)] == [1, 1, 1]
    assert made.status.start_time == rfc3339(NOW + 100) and says(made, "Suspended") == ("False", "Resumed")


def test_stopping_is_suspending_without_a_change_of_the_manifest() -> None:
    made = plan(job(), running(stop_requested=True), NOW)
    assert kinds(made) == ["StopWorker"] * 3 and says(made, "Succeeded") == ("Unknown", "Stopped")


def test_scaling_down_stops_the_highest_indices_and_counts_nothing() -> None:
    made = plan(job(1), running(), NOW)
    assert [a.index for a in made.actions if isinstance(a, StopWorker)] == [1, 2]
    gone = (worker(2, WorkerPhase.FAILED, exit_code=143, gone_because=GoneBecause.TOLD),)
    made = plan(job(1), Observed(workers=(worker(0), *gone), group=group([0])), NOW)
    assert kinds(made) == ["ForgetWorker"] and made.status.restarts.counted == 0


def test_scaling_up_starts_only_the_missing() -> None:
    made = plan(job(5), running(), NOW)
    assert [a.index for a in made.actions if isinstance(a, StartWorker)] == [3, 4]
    assert says(made, "Running")[0] == "True" and says(made, "Degraded") == ("True", "Degraded")


def test_a_killed_process_is_restarted_in_place_and_counted_once() -> None:
    ended = ExitSeen(uid="u1-0", index=1, attempt=0, process_attempt=0, exit_code=137, at=NOW)
    seen = replace(running(), exits=(ended,), group=group([0, 2]))
    made = plan(job(), seen, NOW)
    (order,) = made.actions
    assert isinstance(order, Order) and (order.verb, order.delay_seconds) == ("RESTART", 1.0)
    assert made.status.restarts.counted == 1 and made.status.workers.summary == "2/3"
    assert says(made, "Degraded")[0] == "True" and "SIGKILL" in condition(made, "Degraded").message
    assert plan(after(job(), made), seen, NOW + 1).status.restarts.counted == 1


def test_a_worker_that_died_is_replaced_by_a_new_attempt_when_its_back_off_is_over() -> None:
    dead = worker(1, WorkerPhase.FAILED, exit_code=137, finished_at=NOW)
    seen = Observed(workers=(worker(0), dead, worker(2)), group=group([0, 2]))
    made = plan(job(), seen, NOW)
    assert made.actions == () and made.wake_at == NOW + 1 and made.status.restarts.counted == 1
    made = plan(after(job(), made), seen, NOW + 1)
    assert [(a.index, a.attempt) for a in made.actions if isinstance(a, StartWorker)] == [(1, 1)]


@pytest.mark.parametrize("why", [GoneBecause.EVICTED, GoneBecause.DELETED, GoneBecause.PREEMPTED])
def test_a_worker_that_was_taken_away_is_replaced_at_once_and_not_counted(why: GoneBecause) -> None:
    gone = worker(1, WorkerPhase.FAILED, exit_code=143, gone_because=why, finished_at=NOW)
    made = plan(job(), Observed(workers=(worker(0), gone, worker(2)), group=group([0, 2])), NOW)
    assert kinds(made) == ["StartWorker"]
    assert (made.status.restarts.counted, made.status.restarts.ignored) == (0, 1)


def test_a_worker_on_a_lost_node_is_replaced_and_the_old_one_is_left_alone() -> None:
    made = plan(job(), Observed(workers=(worker(0), worker(1, WorkerPhase.LOST), worker(2)), group=group([0, 2])), NOW)
    assert [(a.index, a.attempt) for a in made.actions if isinstance(a, StartWorker)] == [(1, 1)]


def test_a_permanent_exit_ends_the_job_lets_its_worker_say_so_and_stops_the_others() -> None:
    ended = ExitSeen(
        uid="u1-0", index=1, attempt=0, process_attempt=0, exit_code=3, at=NOW, last_lines=("no such column",)
    )
    made = plan(job(), replace(running(), exits=(ended,)), NOW)
    assert [a.uid for a in made.actions if isinstance(a, StopWorker)] == ["u0-0", "u2-0"]
    assert [a.verb for a in made.actions if isinstance(a, Order)] == ["FAIL"]
    assert says(made, "Failed") == ("True", "PermanentFailure") and says(made, "Succeeded")[0] == "False"
    assert made.reason == "worker 1 ended with exit code 3: no such column"
    assert made.status.completion_time == rfc3339(NOW)


def test_one_failure_more_than_the_limit_fails_the_job() -> None:
    made = plan(job(4, backoff_limit=3), running(4), NOW)
    for index in range(4):
        ended = ExitSeen(uid=f"u{index}-0", index=index, attempt=0, process_attempt=0, exit_code=137, at=NOW)
        assert says(made, "Succeeded")[0] == "Unknown"
        made = plan(after(job(4, backoff_limit=3), made), replace(running(4), exits=(ended,)), NOW)
    assert says(made, "Failed") == ("True", "BackoffLimitExceeded")


def test_a_hang_is_killed_and_a_silent_worker_is_replaced() -> None:
    hang = HangSeen(uid="u1-0", index=1, process_attempt=0, reason="worker 1 hangs")
    made = plan(job(), replace(running(), group=group([0, 2], hangs=(hang,))), NOW)
    assert [(a.verb, a.uid) for a in made.actions if isinstance(a, Order)] == [("KILL", "u1-0")]
    made = plan(job(), replace(running(), group=group([0, 2], hangs=(replace(hang, agent_silent=True),))), NOW)
    assert kinds(made) == ["StopWorker"] and made.status.restarts.counted == 1 and made.wake_at == NOW + 1


def test_a_job_past_its_deadline_fails_and_one_that_is_suspended_does_not() -> None:
    first = plan(job(active_deadline_seconds=60), Observed(), NOW)
    assert first.wake_at == NOW + 60
    late = plan(after(job(active_deadline_seconds=60), first), running(), NOW + 60)
    assert says(late, "Failed") == ("True", "DeadlineExceeded") and kinds(late) == ["StopWorker"] * 3
    paused = plan(job(active_deadline_seconds=60, suspend=True), Observed(), NOW)
    made = plan(after(job(active_deadline_seconds=60, suspend=True), paused), Observed(), NOW + 600)
    assert says(made, "Succeeded") == ("Unknown", "Suspended")


def test_below_the_minimum_the_job_waits_and_says_so_and_after_the_gang_timeout_tries_again_later() -> None:
    waiting = "1 of 3 workers attend, minReplicas is 3"
    few = group(
        [],
        waiting_reason=waiting,
        below_minimum_since=NOW - 20,
        first_step_at=NOW - 99,
        view_changes=1,
        phase="WAITING",
    )
    seen = Observed(workers=(worker(0), worker(1), worker(2)), group=few)
    patient = job(3, 3, gang_timeout_seconds=30)
    made = plan(patient, seen, NOW)
    assert says(made, "Succeeded") == ("Unknown", "BelowMinReplicas") and waiting in made.reason
    assert made.wake_at == NOW + 10
    made = plan(after(patient, made), seen, NOW + 10)
    assert kinds(made) == ["StopWorker"] * 3 and says(made, "Succeeded") == ("Unknown", "GangTimeout")
    assert made.wake_at == NOW + 70
    gone = tuple(worker(i, WorkerPhase.FAILED, exit_code=143, gone_because=GoneBecause.TOLD) for i in range(3))
    again = plan(after(patient, made), replace(seen, workers=gone), NOW + 69)
    assert again.actions == () and again.status.restarts.counted == 0
    again = plan(after(patient, again), replace(seen, workers=gone), NOW + 70)
    assert kinds(again) == ["StartWorker"] * 3


def test_a_result_without_serve_ends_the_job_well() -> None:
    made = plan(job(), running(result=RESULT), NOW)
    assert kinds(made) == ["FinishGroup"] and says(made, "Succeeded") == ("True", "Completed")
    assert says(made, "Published") == ("False", "NotServed") and made.status.progress == "100%"
    assert made.status.model is not None and made.status.model.metrics == {"accuracy": 0.9}


def test_a_gate_that_is_not_reached_fails_the_job_and_keeps_the_model_unserved() -> None:
    gated = job(
        spec={
            "evaluate": EvaluateSpec(metrics=("accuracy",), gate=(GateSpec(metric="accuracy", at_least=0.95),)),
            "serve": ServeSpec(endpoint="digits"),
        }
    )
    made = plan(gated, running(result=RESULT), NOW)
    assert kinds(made) == ["FinishGroup"] and says(made, "Failed") == ("True", "GateNotReached")
    assert says(made, "Evaluated")[0] == "False" and made.status.model is not None
    assert "accuracy" in made.reason and "0.95" in made.reason


def test_a_model_is_published_once_and_the_job_succeeds_when_its_version_is_ready() -> None:
    served = job(spec={"serve": ServeSpec(endpoint="digits")})
    made = plan(served, running(result=RESULT, endpoint=EndpointSeen(name="digits")), NOW)
    published = [a for a in made.actions if isinstance(a, PublishModel)]
    assert [(p.endpoint, p.job) for p in published] == [("digits", "digits")]
    assert says(made, "Succeeded") == ("Unknown", "Publishing")
    loading = EndpointSeen(name="digits", exists=True, digest_version="2", version_phase="LOADING")
    made = plan(after(served, made), running(result=RESULT, endpoint=loading), NOW)
    assert not any(isinstance(a, PublishModel) for a in made.actions) and says(made, "Succeeded")[0] == "Unknown"
    ready = replace(loading, version_phase="READY", url="127.0.0.1:9000")
    made = plan(after(served, made), running(result=RESULT, endpoint=ready), NOW)
    assert says(made, "Published")[0] == "True" and says(made, "Succeeded") == ("True", "Completed")
    assert made.status.endpoint is not None and made.status.endpoint.version == "2"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (EndpointSeen(name="d", exists=True, digest_version="1", version_phase="FAILED"), "PublishFailed"),
        (EndpointSeen(name="d", exists=True, foreign=True), "ForeignChild"),
    ],
)
def test_a_model_that_cannot_be_served_fails_the_job_with_the_cause(seen: EndpointSeen, reason: str) -> None:
    made = plan(job(spec={"serve": ServeSpec(endpoint="d")}), running(result=RESULT, endpoint=seen), NOW)
    assert says(made, "Failed") == ("True", reason) and says(made, "Published") == ("False", reason)


@pytest.mark.parametrize("result", [{"metrics": 3}, {"metrics": {"a": "x"}}, {"model": {"uri": "x"}}])
def test_a_result_that_cannot_be_read_fails_the_job_instead_of_the_operator(result: dict[str, Any]) -> None:
    assert says(plan(job(), running(result=result), NOW), "Failed") == ("True", "ResultInvalid")


def test_a_result_beats_every_failure_seen_at_the_same_time() -> None:
    ended = ExitSeen(uid="u1-0", index=1, attempt=0, process_attempt=0, exit_code=1, at=NOW)
    made = plan(job(), replace(running(result=RESULT), exits=(ended,)), NOW)
    assert says(made, "Succeeded")[0] == "True" and made.status.restarts.counted == 0


def test_a_finished_job_does_nothing_but_let_its_workers_go() -> None:
    ended = plan(job(), running(result=RESULT), NOW)
    made = plan(after(job(), ended), running(result=RESULT), NOW + 5)
    assert kinds(made) == ["FinishGroup"] and made.status.conditions == ended.status.conditions
    told = replace(running(result=RESULT), group=group(finishing=True))
    assert plan(after(job(), ended), told, NOW + 5).actions == ()
    assert kinds(plan(after(job(), ended), told, NOW + 100)) == ["StopWorker"] * 3
    gone = tuple(worker(i, WorkerPhase.SUCCEEDED, exit_code=0) for i in range(3))
    assert plan(after(job(9), ended), Observed(workers=gone, result=RESULT), NOW + 900).actions == ()


@pytest.mark.parametrize(("policy", "expected"), [("Running", []), ("None", []), ("All", ["ForgetWorker"] * 2)])
def test_clean_pod_policy_decides_what_is_left_of_ended_workers(policy: str, expected: list[str]) -> None:
    cleaned = job(2, clean_pod_policy=policy)
    ended = plan(cleaned, Observed(result=RESULT), NOW)
    gone = tuple(worker(i, WorkerPhase.SUCCEEDED, exit_code=0) for i in range(2))
    assert kinds(plan(after(cleaned, ended), Observed(workers=gone, result=RESULT), NOW + 1)) == expected


def test_the_time_to_live_wakes_the_operator() -> None:
    ended = plan(job(ttl_seconds_after_finished=30), Observed(result=RESULT), NOW)
    assert ended.wake_at == NOW + 30


def test_a_script_whose_workers_ended_well_succeeds_without_a_model() -> None:
    script = job(2, spec={"model": None, "command": ("python", "train.py")})
    done = tuple(ExitSeen(uid=f"u{i}-0", index=i, attempt=0, process_attempt=0, exit_code=0, at=NOW) for i in range(2))
    waiting = plan(script, replace(running(2), exits=done[:1]), NOW)
    assert waiting.actions == () and says(waiting, "Succeeded")[0] == "Unknown"
    made = plan(script, replace(running(2), exits=done, result={"metrics": {}, "model": None}), NOW)
    assert kinds(made) == ["FinishGroup"] and says(made, "Succeeded")[0] == "True"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = plan(job(), running(), NOW)
    second = plan(after(job(), first), replace(running(), group=group([0, 1])), NOW + 60)
    assert condition(second, "Running").last_transition_time == rfc3339(NOW)
    assert condition(second, "Degraded").last_transition_time == rfc3339(NOW + 60)
    assert second == plan(after(job(), first), replace(running(), group=group([0, 1])), NOW + 60)


def test_the_order_of_what_is_seen_does_not_matter() -> None:
    seen = running()
    turned = replace(seen, workers=tuple(reversed(seen.workers)))
    assert plan(job(5), seen, NOW) == plan(job(5), turned, NOW)


def test_no_attempt_is_ever_given_twice() -> None:
    status = JobStatus(attempts={"0": 4})
    made = plan(replace(job(1), status=status), Observed(), NOW)
    assert made.actions == (StartWorker(index=0, attempt=5, reason="its predecessor is gone"),)


def test_a_worker_that_is_scaled_away_is_not_counted_among_the_wanted_ones() -> None:
    assert plan(job(2), running(3), NOW).status.workers.summary == "2/2"
