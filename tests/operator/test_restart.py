"""What an end costs: one kill counts one, whoever tells it how often; consequences and orders of ours cost nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ringyard_api.jobstatus import RestartsStatus
from ringyard_api.reasons import Reason
from ringyard_api.trainingjob import RunPolicySpec
from ringyard_operator import restart
from ringyard_operator.observed import ExitSeen, GoneBecause, HangSeen, WorkerPhase, WorkerSeen

NOW = 1_000_000.0


def end(index: int = 0, *, code: int = 137, at: float = NOW, process_attempt: int = 0, **more: Any) -> ExitSeen:
    return ExitSeen(
        uid=f"u{index}", index=index, attempt=0, process_attempt=process_attempt, exit_code=code, at=at, **more
    )


def worker(index: int = 0, *, phase: WorkerPhase = WorkerPhase.RUNNING, uid: str = "", **more: Any) -> WorkerSeen:
    return WorkerSeen(index=index, attempt=0, uid=uid or f"u{index}", phase=phase, created_at=NOW - 100, **more)


def judge(
    before: RestartsStatus | None = None,
    *,
    exits: tuple[ExitSeen, ...] = (),
    workers: tuple[WorkerSeen, ...] = (worker(0), worker(1), worker(2)),
    hangs: tuple[HangSeen, ...] = (),
    policy: RunPolicySpec | None = None,
    script: bool = False,
    now: float = NOW,
) -> restart.Judged:
    return restart.judge(
        before or RestartsStatus(),
        exits=exits,
        workers=workers,
        hangs=hangs,
        policy=policy or RunPolicySpec(),
        script=script,
        now=now,
    )


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (end(code=1), "permanent"),
        (end(code=3), "permanent"),
        (end(code=127), "permanent"),
        (end(code=137), "counted"),
        (end(code=139), "counted"),
        (end(code=255), "counted"),
        (end(code=1, out_of_memory=True), "counted"),
        (end(code=137, hang=True), "counted"),
        (end(code=0), "counted"),
        (end(code=143), "ignored"),
        (end(code=1, told=True), "ignored"),
        (end(code=1, consequence=True), "ignored"),
        (end(code=137, consequence=True), "ignored"),
    ],
)
def test_an_end_of_a_process_costs_what_its_code_and_cause_say(what: ExitSeen, kind: str) -> None:
    assert restart.judge_exit(what, RunPolicySpec()).kind == kind


def test_under_on_failure_a_positive_exit_code_counts_instead_of_ending_the_job() -> None:
    assert restart.judge_exit(end(code=1), RunPolicySpec(restart_policy="OnFailure")).kind == "counted"


@pytest.mark.parametrize("why", list(GoneBecause))
def test_a_worker_that_did_not_fail_by_itself_counts_nothing(why: GoneBecause) -> None:
    judged = judge(workers=(worker(0, phase=WorkerPhase.FAILED, exit_code=137, gone_because=why),))
    assert judged.restarts.counted == 0 and judged.failure is None
    if why is not GoneBecause.NODE_REFUSED:  # that node would refuse the next one as well, at once
        assert not judged.not_before


def test_back_off_doubles_from_one_second_to_a_minute() -> None:
    assert [restart.back_off(n) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_kill_counts_once_however_often_it_is_told_and_the_order_stays_the_same() -> None:
    first = judge(exits=(end(1),))
    assert first.restarts.counted == 1
    again = judge(first.restarts, exits=(end(1),), now=NOW + 0.4)
    assert again.restarts == first.restarts
    assert [(o.verb, o.uid, round(o.delay_seconds, 1)) for o in first.orders] == [("RESTART", "u1", 1.0)]
    assert [round(o.delay_seconds, 1) for o in again.orders] == [0.6]


def test_the_third_counted_end_waits_four_seconds() -> None:
    status = RestartsStatus()
    for attempt in range(3):
        judged = judge(status, exits=(end(0, process_attempt=attempt),))
        status = judged.restarts
    assert status.counted == 3 and [o.delay_seconds for o in judged.orders] == [4.0]


def test_more_counted_ends_than_the_limit_fail_the_job_with_the_last_cause() -> None:
    status = judge(exits=(end(0), end(1)), policy=RunPolicySpec(backoff_limit=2)).restarts
    judged = judge(status, exits=(end(2, code=139),), policy=RunPolicySpec(backoff_limit=2))
    assert judged.failure is not None and judged.failure[0] is Reason.BACKOFF_LIMIT_EXCEEDED
    assert "3 counted failures, backoffLimit is 2" in judged.failure[1] and "SIGSEGV" in judged.failure[1]


def test_a_permanent_end_fails_the_job_with_the_last_log_lines_and_its_worker_ends_with_its_code() -> None:
    judged = judge(exits=(end(1, code=3, last_lines=("loading", "I give up")),))
    assert judged.failure == (
        Reason.PERMANENT_FAILURE,
        "worker 1 ended with exit code 3: loading | I give up",
    )
    assert [o.verb for o in judged.orders] == ["FAIL"] and judged.restarts.counted == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("step 1", "ringyard: spec.data.label: no 'y'", "Exception ignored in: <x>", ""), "spec.data.label: no 'y'"),
        (("a", "b", "\x1b[31mTraceback\x1b[0m", "  File x", "ValueError:\tno"), "Traceback | File x | ValueError: no"),
        ((), ""),
    ],
)  # fmt: skip
def test_the_cause_is_the_trainers_own_sentence_or_the_last_three_lines_of_a_script(
    lines: tuple[str, ...], said: str
) -> None:
    reason = restart.judge_exit(end(1, code=2, last_lines=lines), RunPolicySpec()).reason
    assert reason == "worker 1 ended with exit code 2" + (f": {said}" if said else "")


def test_a_loss_that_is_not_finite_is_named_so_but_not_a_users_own_exit_3() -> None:
    ours = judge(exits=(end(code=3, last_lines=("the loss of step 7 is not finite",)),))
    users = judge(exits=(end(code=3, last_lines=("bye",)),))
    assert ours.failure is not None and ours.failure[0] is Reason.LOSS_NOT_FINITE
    assert users.failure is not None and users.failure[0] is Reason.PERMANENT_FAILURE


def test_a_worker_that_dies_itself_is_counted_and_replaced_after_the_back_off() -> None:
    gone = worker(1, phase=WorkerPhase.FAILED, exit_code=137, finished_at=NOW)
    judged = judge(workers=(worker(0), gone))
    assert judged.restarts.counted == 1 and judged.not_before == {1: NOW + 1}
    assert judge(judged.restarts, workers=(worker(0), gone), now=NOW + 9).restarts == judged.restarts


def test_a_hanging_process_is_killed_and_counted_only_when_it_has_ended() -> None:
    hang = HangSeen(uid="u1", index=1, process_attempt=0, reason="worker 1 hangs")
    judged = judge(hangs=(hang,))
    assert [(o.verb, o.process_attempt) for o in judged.orders] == [("KILL", 0)] and judged.restarts.counted == 0
    judged = judge(judged.restarts, exits=(end(1, hang=True),))
    assert [o.verb for o in judged.orders] == ["RESTART"] and judged.restarts.counted == 1


def test_a_worker_that_is_wholly_silent_is_counted_once_and_given_up() -> None:
    hang = HangSeen(uid="u1", index=1, process_attempt=0, reason="worker 1 is silent", agent_silent=True)
    judged = judge(hangs=(hang,))
    assert judged.silent == ("u1",) and judged.restarts.counted == 1 and not judged.orders
    dead = worker(1, phase=WorkerPhase.FAILED, exit_code=137, finished_at=NOW)
    assert judge(judged.restarts, workers=(worker(0), dead), hangs=(hang,)).restarts == judged.restarts


def test_a_script_that_has_ended_well_is_not_started_again() -> None:
    judged = judge(exits=(end(code=0),), script=True)
    assert not judged.orders and judged.restarts == RestartsStatus()


def test_a_count_that_somebody_edited_is_put_right_by_the_ledger() -> None:
    honest = judge(exits=(end(0),)).restarts
    edited = RestartsStatus(counted=99, ignored=0, ledger=honest.ledger)
    judged = judge(edited, exits=(end(0),))
    assert judged.failure is None and judged.restarts == honest


def test_the_ledger_forgets_old_ends_but_not_their_number() -> None:
    status = RestartsStatus()
    for attempt in range(restart.LEDGER_LENGTH + 20):
        gone = worker(0, phase=WorkerPhase.FAILED, exit_code=137, finished_at=NOW, uid=f"x{attempt}")
        status = judge(status, workers=(gone,), policy=RunPolicySpec(backoff_limit=10_000)).restarts
    assert status.counted == restart.LEDGER_LENGTH + 20 and len(status.ledger) <= restart.LEDGER_LENGTH
