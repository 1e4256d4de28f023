"""The plan where pods come and go: evictions in a row, nodes that are lost, workers that cannot be made, queues."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ringyard_api.problems import Problem
from ringyard_api.reasons import Reason
from ringyard_operator.actions import ForgetWorker, StartWorker
from ringyard_operator.observed import GoneBecause, Observed, Refusal, WorkerPhase, WorkerSeen
from ringyard_operator.plan import expiry, managed_elsewhere, plan
from ringyard_operator.refusal import refusal_of
from test_plan import NOW, after, condition, group, job, kinds, running, says, worker

NO_GPU = "0/3 nodes have a free nvidia.com/gpu"
QUOTA = Refusal(reason=Reason.QUOTA_EXCEEDED, sentence="quota small is exceeded")


def pending(index: int, why: str, code: Reason) -> WorkerSeen:
    return worker(index, WorkerPhase.PENDING, waiting_reason=why, waiting_code=code)


def test_ten_evictions_in_a_row_are_replaced_at_once_each_and_counted_never() -> None:
    wanted = job(1)
    made = plan(wanted, Observed(), NOW)
    for number in range(10):
        going = worker(0, WorkerPhase.TERMINATING, attempt=number, gone_because=GoneBecause.EVICTED)
        made = plan(after(wanted, made), Observed(workers=(going,), group=group([])), NOW + number)
        assert [(a.index, a.attempt) for a in made.actions if isinstance(a, StartWorker)] == [(0, number + 1)]
        both = (going, worker(0, attempt=number + 1))
        made = plan(after(wanted, made), Observed(workers=both, group=group([])), NOW + number)
        assert kinds(made) == [], "the object that still goes is noted once and replaced once"
    assert (made.status.restarts.counted, made.status.restarts.ignored) == (0, 10)
    assert made.reason == "worker 0 was evicted, the next one loads"


def test_a_worker_that_goes_because_we_told_it_is_no_news() -> None:
    told = worker(2, WorkerPhase.TERMINATING, gone_because=GoneBecause.TOLD)
    made = plan(job(2), Observed(workers=(worker(0), worker(1), told), group=group([0, 1])), NOW)
    assert made.actions == () and made.status.restarts.ignored == 0


def test_a_node_that_refuses_a_worker_is_not_asked_again_at_once() -> None:
    refused = replace(
        worker(0, WorkerPhase.FAILED, exit_code=None, gone_because=GoneBecause.NODE_REFUSED), created_at=NOW
    )
    made = plan(job(1), Observed(workers=(refused,)), NOW)
    assert made.actions == () and made.wake_at == NOW + 10 and made.status.restarts.counted == 0
    assert kinds(plan(after(job(1), made), Observed(workers=(refused,)), NOW + 10)) == ["StartWorker"]


def test_the_last_worker_that_failed_by_itself_stays_to_be_looked_at_until_the_job_ends() -> None:
    failed = [worker(0, WorkerPhase.FAILED, attempt=n, exit_code=137, finished_at=NOW - 300 + n) for n in (0, 1)]
    evicted = worker(0, WorkerPhase.FAILED, attempt=2, exit_code=137, gone_because=GoneBecause.EVICTED)
    made = plan(job(1), Observed(workers=(*failed, evicted, worker(0, attempt=3)), group=group([0])), NOW)
    assert [a.attempt for a in made.actions if isinstance(a, ForgetWorker)] == [0, 2]


def test_workers_that_wait_for_the_same_share_a_clause_and_the_reason_is_theirs() -> None:
    seen = Observed(workers=(worker(0), worker(1), *(pending(i, NO_GPU, Reason.UNSCHEDULABLE) for i in (2, 3))))
    made = plan(job(4, 3), seen, NOW)
    assert made.reason == f"2 of 4 workers wait: {NO_GPU}; workers 0, 1 load"
    assert says(made, "Succeeded") == ("Unknown", "Unschedulable") and says(made, "Admitted")[0] == "True"
    training = replace(seen, group=group([0, 1]))
    assert plan(job(4), training, NOW).reason == f"2 of 4 workers train: 2 of 4 workers wait: {NO_GPU}"
    missing = "Secret x does not exist in namespace y: create it"
    alone = plan(job(1), Observed(workers=(pending(0, missing, Reason.CONFIG_MISSING),)), NOW)
    assert alone.reason == f"worker 0 waits: {missing}" and says(alone, "Succeeded")[1] == "ConfigMissing"


def test_a_job_in_a_queue_is_not_admitted() -> None:
    why = "queue team-a has not admitted it yet"
    made = plan(job(2), Observed(workers=tuple(pending(i, why, Reason.QUEUED) for i in range(2))), NOW)
    assert says(made, "Admitted") == ("False", "Queued") and says(made, "Succeeded")[1] == "Queued"
    assert made.reason == f"2 of 2 workers wait: {why}"


def test_attempts_that_a_status_has_lost_are_known_from_what_exists() -> None:
    made = plan(job(2), Observed(workers=(worker(0, attempt=4), worker(1, attempt=7)), group=group([0, 1])), NOW)
    assert made.status.attempts == {"0": 4, "1": 7}


def test_a_queue_may_take_as_long_as_it_wants() -> None:
    queued = job(2, 2, queue="team-a", gang_timeout_seconds=5)
    workers = tuple(pending(i, "queue team-a has not admitted it yet", Reason.QUEUED) for i in range(2))
    below = group([], below_minimum_since=NOW - 999, first_step_at=None)
    assert plan(queued, Observed(workers=workers, group=below), NOW).actions == ()
    impatient = job(2, 2, gang_timeout_seconds=5)
    assert kinds(plan(impatient, Observed(workers=workers, group=below), NOW)) == ["StopWorker"] * 2


def test_where_no_worker_can_be_made_none_is_tried_no_attempt_is_used_up_and_the_cause_is_told() -> None:
    made = plan(job(2), Observed(refusal=QUOTA), NOW)
    assert made.actions == () and made.status.attempts == {} and made.status.start_time == ""
    assert says(made, "Succeeded") == ("Unknown", "QuotaExceeded") and made.reason == QUOTA.sentence
    assert says(made, "Admitted") == ("False", "QuotaExceeded")
    lifted = plan(after(job(2), made), Observed(), NOW + 30)
    assert kinds(lifted) == ["StartWorker"] * 2 and says(lifted, "Admitted")[0] == "True"
    part = plan(job(3), Observed(workers=(worker(0),), group=group([0]), refusal=QUOTA), NOW)
    assert part.actions == () and part.reason == f"1 of 3 workers train: {QUOTA.sentence}"


def test_a_job_that_can_never_run_fails_at_once_but_not_over_the_heads_of_living_workers() -> None:
    never = replace(QUOTA, reason=Reason.NOT_SUPPORTED, final=True)
    made = plan(job(2), Observed(refusal=never), NOW)
    assert says(made, "Failed") == ("True", "NotSupported") and made.actions == () and made.reason == QUOTA.sentence
    assert says(made, "Admitted") == ("False", "NotSupported")
    alive = plan(job(3), running(3, refusal=never), NOW)
    assert says(alive, "Succeeded")[0] == "Unknown" and alive.actions == ()


@pytest.mark.parametrize(
    ("paths", "final", "reason"),
    [
        (["spec.serve.batching"], False, "NotSupported"),
        (["spec.serve.batching", "spec.data.uri"], True, "NotSupported"),
        (["spec.workers.template.spec.hostname"], True, "TemplateRefused"),
        (["spec"], True, "NotSupported"),
    ],
)
def test_a_manifest_is_refused_for_good_only_where_no_edit_can_mend_it(
    paths: list[str], final: bool, reason: str
) -> None:
    refusal = refusal_of([Problem(path=path, message="no") for path in paths])
    assert refusal is not None and (refusal.final, refusal.reason) == (final, reason)
    assert refusal_of([]) is None


def test_the_deadline_does_not_run_while_the_workers_of_a_suspended_job_leave() -> None:
    late = job(1, active_deadline_seconds=60, suspend=True)
    begun = replace(late, status=plan(job(1), Observed(), NOW).status)
    leaving = Observed(workers=(worker(0, WorkerPhase.TERMINATING, gone_because=GoneBecause.TOLD),))
    made = plan(begun, leaving, NOW + 61)
    assert says(made, "Suspended")[0] == "Unknown" and says(made, "Succeeded")[0] == "Unknown"


def test_a_told_worker_on_a_dead_node_does_not_keep_a_job_from_being_suspended() -> None:
    lost = worker(0, WorkerPhase.LOST, gone_because=GoneBecause.TOLD)
    made = plan(job(1, suspend=True), Observed(workers=(lost,)), NOW)
    assert says(made, "Suspended") == ("True", "Suspended") and kinds(made) == ["ForgetWorker"]
    assert condition(made, "Suspended").message == "the job is suspended"


def test_a_job_of_another_controller_is_left_alone_and_a_finished_one_expires_when_its_time_is_over() -> None:
    assert managed_elsewhere(job(managed_by="kueue.x-k8s.io/multikueue"))
    assert not managed_elsewhere(job()) and not managed_elsewhere(job(managed_by="ringyard.dev/operator"))
    ends = job(ttl_seconds_after_finished=30)
    result = {"metrics": {}, "model": None}
    ended = plan(ends, Observed(result=result), NOW).status
    assert expiry(ends, ended) == NOW + 30
    assert expiry(ends, plan(ends, Observed(), NOW).status) is None
