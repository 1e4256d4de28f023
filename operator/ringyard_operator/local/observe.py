"""Gathers the facts that `plan` reads from processes, files and the coordinator's memory.

Called by `supervisor` once a loop. It decides nothing: every judgement on these facts is the plan's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringyard_api.artifact import MODEL_JSON, script_result
from ringyard_api.launch import EXIT_TERMINATED, RESULT_JSON
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import StateUnusable
from ringyard_operator.local import disk
from ringyard_operator.local.processes import Agent
from ringyard_operator.observed import GoneBecause, WorkerPhase, WorkerSeen


def workers_seen(agents: Sequence[Agent]) -> tuple[WorkerSeen, ...]:
    """Every incarnation as `plan` wants to see it."""
    return tuple(_worker(agent) for agent in agents)


def _worker(agent: Agent) -> WorkerSeen:
    record = agent.record
    lines = record.exits[-1].last_lines if record.exits else ()
    return WorkerSeen(
        index=record.index,
        attempt=record.attempt,
        uid=record.uid,
        phase=_phase(agent),
        created_at=record.created_at,
        finished_at=record.finished_at,
        exit_code=agent.exit_code,
        gone_because=_gone_because(agent),
        out_of_memory=bool(record.exits and record.exits[-1].out_of_memory),
        last_lines=lines,
        waiting_reason="" if record.pid else "its process has not started yet",
        address="127.0.0.1",
    )


def _phase(agent: Agent) -> WorkerPhase:
    if agent.alive:
        if not agent.record.pid:
            return WorkerPhase.PENDING
        return WorkerPhase.TERMINATING if agent.told else WorkerPhase.RUNNING
    return WorkerPhase.SUCCEEDED if agent.exit_code == 0 else WorkerPhase.FAILED


def _gone_because(agent: Agent) -> GoneBecause | None:
    if agent.alive or agent.exit_code == 0:
        return None
    if agent.told:
        return GoneBecause.TOLD
    return GoneBecause.DELETED if agent.exit_code == EXIT_TERMINATED else None


def result_on_disk(job: TrainingJob, run_dir: Path, agents: Sequence[Agent]) -> Mapping[str, Any] | None:
    """The result that stands: `result.json` of a declared fit; of a `command` job what its script left as a model.

    A script's result stands only when the last process of every wanted worker has ended with 0.
    """
    if not job.spec.command:
        return _fit_result(run_dir)
    if not _all_scripts_done(job, agents):
        return None
    return _script_result(run_dir / "model")


def _fit_result(run_dir: Path) -> Mapping[str, Any] | None:
    try:
        return disk.read_json(run_dir / RESULT_JSON)
    except StateUnusable:
        return None


def _all_scripts_done(job: TrainingJob, agents: Sequence[Agent]) -> bool:
    newest = {agent.record.index: agent for agent in agents}  # they come by index and attempt
    wanted = [newest.get(index) for index in range(job.spec.workers.replicas)]
    return all(
        agent is not None and agent.record.exits and not agent.record.child_pid and not agent.record.exits[-1].exit_code
        for agent in wanted
    )


def _script_result(model: Path) -> Mapping[str, Any]:
    try:
        manifest = (model / MODEL_JSON).read_bytes()
    except OSError:
        manifest = None
    return script_result(manifest, model.resolve().as_uri())
