"""Workers as processes: starts an agent per incarnation, knows them again after a restart, signals and forgets them.

`observe` reads it, `perform` drives it. Its memory is the records in the workers' folders and /proc; what it holds
itself (children to reap, grace periods) may be lost at any moment without harm. It decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ringyard_api.agentrecord import AgentRecord, file_name
from ringyard_api.launch import EXIT_TERMINATED, INCARNATION, WorkerLaunch
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.local import disk, procfs
from ringyard_operator.local.folders import JobFolder

_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One incarnation as it is now. `exit_code` is None while it lives; `told` = we had asked it to go."""

    record: AgentRecord
    alive: bool
    told: bool
    exit_code: int | None = None

    @property
    def identity(self) -> procfs.Identity:
        """Of the agent process."""
        return procfs.Identity(pid=self.record.pid, start_ticks=self.record.start_ticks, boot=self.record.boot)


class Workers:
    """All incarnations of one job's workers."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # by uid, until reaped
        self._codes: dict[str, int] = {}  # exit codes that we reaped ourselves, by uid
        self._kill_at: dict[str, float] = {}  # monotonic, by uid
        self._swept: set[str] = set()  # uids of agents that were killed, whose sessions we have cleared

    def seen(self) -> list[Agent]:
        """All incarnations with a record, by index and attempt."""
        self._reap()
        agents = [self._look(path) for path in sorted(self._folder.workers.glob("*/agent-*.json"))]
        found = [agent for agent in agents if agent is not None]
        return sorted(found, key=lambda agent: (agent.record.index, agent.record.attempt))

    def start(self, job: TrainingJob, index: int, attempt: int) -> None:
        """Starts an agent in a session of its own. The record is written first; one that exists is left as it is."""
        folder = self._folder.worker(index)
        path = folder / file_name(attempt)
        if path.exists():
            return
        record = AgentRecord(uid=uuid.uuid4().hex, index=index, attempt=attempt, created_at=time.time())
        disk.replace(path, record.to_json())
        contract = WorkerLaunch(
            job=self._folder.name,
            spec_file=str(self._folder.spec_file),
            worker_index=index,
            incarnation=record.uid,
            attempt=attempt,
            coordinator_file=str(self._folder.coordinator_file),
            token_file=str(self._folder.token_file),
            run_dir=str(self._folder.run_dir(job)),
            worker_dir=str(folder),
            host="127.0.0.1",
        )
        environment = {**_worker_environment(folder), **template_environment(job), **contract.environment()}
        with disk.refusals("write", folder), (folder / "log").open("ab") as log:
            self._children[record.uid] = subprocess.Popen(
                [sys.executable, "-P", "-m", "ringyard_trainer.agent"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def stop(self, uid: str, grace_seconds: float) -> None:
        """SIGTERM once; SIGKILL for its whole session when the grace is over. Remembers on disk that it was told."""
        if uid in self._kill_at:
            return
        agent = self._agent(uid)
        if agent is None or not agent.alive:
            return
        self._told_file(agent.record).touch()
        agent.identity.signal(signal.SIGTERM)
        self._kill_at[uid] = time.monotonic() + grace_seconds

    def kill_overdue(self) -> None:
        """Kills those whose grace is over, and what a dead agent left in its session."""
        now = time.monotonic()
        for uid in [uid for uid, at in self._kill_at.items() if now >= at]:
            agent = self._agent(uid)
            if agent is not None and agent.record.pid:
                procfs.kill_session(agent.record.pid, INCARNATION, uid)
            del self._kill_at[uid]

    def kill_all(self) -> None:
        """SIGKILL to everything that lives, at once: the second Ctrl-C."""
        for agent in self.seen():
            if agent.alive:
                self._told_file(agent.record).touch()
                procfs.kill_session(agent.record.pid, INCARNATION, agent.record.uid)

    def forget(self, index: int, attempt: int, uid: str) -> None:
        """Removes the record of a dead incarnation, never its log. What its session left is killed."""
        path = self._folder.worker(index) / file_name(attempt)
        agent = self._look(path)
        if agent is None or agent.alive or agent.record.uid != uid:
            return
        if agent.record.pid:
            procfs.kill_session(agent.record.pid, INCARNATION, uid)
        path.unlink(missing_ok=True)
        self._told_file(agent.record).unlink(missing_ok=True)
        for memory in (self._children, self._codes, self._kill_at):
            memory.pop(uid, None)

    def _agent(self, uid: str) -> Agent | None:
        return next((agent for agent in self.seen() if agent.record.uid == uid), None)

    def _told_file(self, record: AgentRecord) -> Path:
        return self._folder.worker(record.index) / f"{file_name(record.attempt)}.told"

    def _reap(self) -> None:
        for uid, child in list(self._children.items()):
            if (code := child.poll()) is not None:
                self._codes[uid] = code if code >= 0 else 128 - code
                del self._children[uid]

    def _look(self, path: Path) -> Agent | None:
        try:
            record = AgentRecord.from_json(path.read_text())
        except (OSError, ValueError, TypeError):
            return None
        told = self._told_file(record).exists()
        if not record.pid:
            record = self._born(record)
        agent = Agent(record=record, alive=False, told=told)
        if record.pid and agent.identity.alive():
            return replace(agent, alive=True)
        return replace(agent, exit_code=self._exit_code(record))

    def _exit_code(self, record: AgentRecord) -> int:
        if record.exit_code is not None:
            return record.exit_code
        if not record.pid and record.uid not in self._codes:
            return EXIT_TERMINATED  # it never lived: nothing to count
        if record.pid and record.uid not in self._swept:  # killed: whatever it left in its session goes too
            procfs.kill_session(record.pid, INCARNATION, record.uid)
            self._swept.add(record.uid)
        return self._codes.get(record.uid, _KILLED)

    def _born(self, record: AgentRecord) -> AgentRecord:
        """An agent that has not written its record yet is found as our child, or by the mark in its environment."""
        child = self._children.get(record.uid)
        for pid in [child.pid] if child is not None else procfs.find(INCARNATION, record.uid):
            identity = procfs.identify(pid)
            if identity is not None and identity.alive():
                return replace(record, pid=pid, start_ticks=identity.start_ticks, boot=identity.boot)
        return record


def template_environment(job: TrainingJob) -> dict[str, str]:
    """`workers.template.spec.containers[0].env`, or `workers.template.env`: what local mode honours of the template."""
    template: Mapping[str, object] = job.spec.workers.template or {}
    entries: object = template.get("env")
    if entries is None:
        spec = template.get("spec")
        containers = spec.get("containers") if isinstance(spec, Mapping) else None
        first = containers[0] if isinstance(containers, (list, tuple)) and containers else {}
        entries = first.get("env") if isinstance(first, Mapping) else None
    if isinstance(entries, Mapping):
        return {str(name): str(value) for name, value in entries.items()}
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        with contextlib.suppress(KeyError, TypeError):
            found[str(entry["name"])] = str(entry["value"])
    return found


def _worker_environment(folder: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))  # torch would leave it in /tmp
    environment.setdefault("OMP_NUM_THREADS", "1")  # as torchrun: several workers share the cores
    return environment
