"""What a run says while it goes: sentences of conditions once, progress in between, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ringyard_api.defaults import resolve
from ringyard_api.jobstatus import Condition, JobStatus, WorkersStatus
from ringyard_api.loading import load_job
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.cli.display import LiveDisplay, PlainDisplay
from ringyard_operator.observed import GroupSeen

JOB = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: iris}
spec:
  workers: {replicas: 3}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [8], classes: 3}}
  data: {uri: "sklearn://iris"}
  fit: {epochs: 1, batchSize: 32, loss: crossEntropy}
"""


def job(*conditions: tuple[str, str, str, str], eta: float | None = None) -> TrainingJob:
    found = tuple(
        Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            last_transition_time="2026-01-02T03:04:05Z",
            observed_generation=1,
        )
        for kind, status, reason, message in conditions
    )
    workers = WorkersStatus(desired=3, ready=2, live=3, summary="2/3")
    return replace(
        resolve(load_job(JOB, "job.yaml")), status=JobStatus(conditions=found, workers=workers, eta_seconds=eta)
    )


def at(step: int) -> GroupSeen:
    return GroupSeen(term=1, epoch=1, step=step, total_steps=500, loss=0.12345, samples_per_second=12_345.0)


def test_without_a_terminal_each_condition_is_said_once_and_progress_every_two_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    display = PlainDisplay(clock=lambda: now)
    starting = ("Succeeded", "Unknown", "Starting", "3 workers start")
    display.update(job(starting, ("Admitted", "True", "Admitted", "nothing holds the job back")), None)
    display.update(job(starting, ("Degraded", "False", "AsWanted", "nothing is wrong")), None)
    running = (
        ("Succeeded", "Unknown", "Running", "3 workers train"),
        ("Running", "True", "Running", "3 workers train"),
    )
    display.update(job(*running, eta=75), at(120))
    display.update(job(*running, eta=74), at(121))
    now += 2.0
    display.update(job(*running, ("Degraded", "True", "WorkerLost", "worker 1 was lost"), eta=70), at(130))
    display.update(job(*running, ("Degraded", "False", "AsWanted", "worker 1 is back"), eta=70), at(131))
    ended = ("Succeeded", "True", "Completed", "all is done; accuracy 0.9 is at least 0.8")
    gate = ("Evaluated", "True", "GateReached", "accuracy 0.9 is at least 0.8")
    display.update(
        job(ended, gate, ("Running", "False", "Completed", "it has ended"), ("Failed", "False", "No", "no")), None
    )
    assert capsys.readouterr().out.splitlines() == [
        "Starting: 3 workers start",
        "Running: 3 workers train",
        "step 120/500 (24%)  loss 0.1235  12.3k samples/s  workers 2/3  ETA 1m15s",
        "Degraded: worker 1 was lost",
        "step 130/500 (26%)  loss 0.1235  12.3k samples/s  workers 2/3  ETA 1m10s",
        "not Degraded: worker 1 is back",
        "Completed: all is done; accuracy 0.9 is at least 0.8",
    ]


def test_on_a_terminal_there_is_a_bar_with_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    display = LiveDisplay()
    display.update(job(("Succeeded", "Unknown", "Running", "3 workers train")), at(120))
    display.update(job(("Succeeded", "True", "Completed", "all 500 steps are done")), at(500))
    display.close()
    text = capsys.readouterr().out
    assert "Running: 3 workers train" in text
    assert "Completed: all 500 steps are done" in text
    assert "500/500" in text and "loss 0.1235" in text and "workers 2/3" in text
