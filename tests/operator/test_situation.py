"""What a job says of itself while it runs: where it is, who is missing and why, and nothing that is no news."""

from __future__ import annotations

from typing import Any

from ringyard_api.jobstatus import JobStatus, LedgerEntry, RestartsStatus, WorkersStatus
from ringyard_api.trainingjob import ModelSpec, ObjectMeta, TrainingJob, TrainingJobSpec, WorkersSpec
from ringyard_operator import situation
from ringyard_operator.conditions import Claim
from ringyard_operator.observed import ExitSeen, GroupSeen, MemberSeen, Observed, WorkerPhase, WorkerSeen

NOW = 1_795_000_000.0


def member(index: int, phase: str = "TRAINING") -> MemberSeen:
    return MemberSeen(
        index=index,
        process=0,
        uid=f"u{index}",
        process_attempt=0,
        phase=phase,
        step=0,
        address="",
        in_view=True,
        entered_op=0,
        progress_at=NOW,
    )


def ended(index: int, code: int) -> ExitSeen:
    return ExitSeen(uid=f"u{index}", index=index, attempt=0, process_attempt=0, exit_code=code, at=NOW)


def claims(
    in_view: tuple[int, ...],
    *,
    command: tuple[str, ...] = (),
    exits: tuple[ExitSeen, ...] = (),
    ledger: tuple[LedgerEntry, ...] = (),
    **group: Any,
) -> dict[str, Claim]:
    """Three workers are wanted and run; those in `in_view` train."""
    spec = TrainingJobSpec(
        workers=WorkersSpec(replicas=3, min_replicas=1),
        model=None if command else ModelSpec(factory="ringyard_trainer.models:mlp"),
        command=command,
    )
    job = TrainingJob(metadata=ObjectMeta(name="digits", uid="1", generation=1), spec=spec)
    workers = tuple(
        WorkerSeen(index=i, attempt=0, uid=f"u{i}", phase=WorkerPhase.RUNNING, created_at=NOW) for i in range(3)
    )
    seen: dict[str, Any] = {"phase": "TRAINING", "members": tuple(member(i) for i in in_view), "epoch": bool(in_view)}
    observed = Observed(workers=workers, exits=exits, group=GroupSeen(term=1, **{**seen, **group}))
    status = JobStatus(
        workers=WorkersStatus(desired=3, ready=len(in_view), live=3, summary=""),
        restarts=RestartsStatus(counted=len(ledger), ignored=0, ledger=ledger),
    )
    return {claim.type.value: claim for claim in situation.claims(job, observed, status, {})}


def test_workers_that_load_are_named_together_and_degrade_nothing() -> None:
    said = claims((), waiting_reason="0 of 3 workers attend, minReplicas is 1")
    assert (said["Succeeded"].reason, said["Degraded"].status) == ("Loading", "False")
    assert said["Succeeded"].message == "0 of 3 workers attend, minReplicas is 1; workers 0, 1, 2 load"


def test_an_end_before_the_first_view_is_told_without_calling_the_job_degraded() -> None:
    killed = LedgerEntry(uid="u1", index=1, attempt=0, counted=True, reason="worker 1 ended with SIGKILL")
    before = claims((), exits=(ended(1, 137),), ledger=(killed,))
    assert (before["Succeeded"].reason, before["Degraded"].status) == ("Restarting", "False")
    assert "worker 1 ended with SIGKILL, its process starts again" in before["Succeeded"].message
    later = claims((), exits=(ended(1, 137),), ledger=(killed,), view_changes=1)
    assert later["Degraded"].status == "True"


def test_a_look_at_the_validation_part_is_training_and_the_last_one_is_not() -> None:
    between = claims((0, 1, 2), phase="EVALUATING", step=40, total_steps=100)
    assert (between["Succeeded"].reason, between["Running"].status) == ("Running", "True")
    assert claims((0, 1, 2), phase="EVALUATING", step=100, total_steps=100)["Succeeded"].reason == "Evaluating"


def test_a_script_that_has_ended_well_in_a_worker_is_missed_by_nobody() -> None:
    said = claims((1, 2), command=("python", "train.py"), exits=(ended(0, 0),))
    assert (said["Succeeded"].reason, said["Degraded"].status) == ("Running", "False")
    over = claims((), command=("python", "train.py"), exits=tuple(ended(i, 0) for i in range(3)))
    assert (over["Succeeded"].message, over["Degraded"].status) == (
        "the script has ended well in every worker",
        "False",
    )
