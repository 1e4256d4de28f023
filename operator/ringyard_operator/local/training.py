"""The supervisor's loop over one job until it has ended: observe, plan, write the status, perform, wait.

`supervisor` makes one, holding the job's lock. Everything that is decided comes from `plan`; this file only turns the
crank and wakes up in time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ringyard_api.jobstatus import JobStatus
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import finished
from ringyard_operator.coordinator import Coordinator, CoordinatorServer, one_token
from ringyard_operator.errors import NotFound, StateUnusable
from ringyard_operator.local import disk
from ringyard_operator.local.endpoint import EndpointKeeper, endpoint_seen, try_keeper
from ringyard_operator.local.folders import JobFolder, StateDir
from ringyard_operator.local.observe import result_on_disk, workers_seen
from ringyard_operator.local.perform import perform
from ringyard_operator.local.processes import Agent, Workers
from ringyard_operator.local.targets import TargetsFile, job_targets
from ringyard_operator.metrics import Metrics
from ringyard_operator.observed import GroupSeen, Observed
from ringyard_operator.plan import plan
from ringyard_operator.progress import without_figures

LONGEST_PAUSE = 0.4  # seconds: an edited spec is seen within it
SHORTEST_PAUSE = 0.05  # members report their progress often: the plan need not look at each
_STATUS_SECONDS = 1.0  # figures are written this often, everything else at once
_SERVER_SECONDS = 0.5

OnChange = Callable[[TrainingJob, GroupSeen | None], None]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One look at the world."""

    job: TrainingJob
    observed: Observed
    agents: tuple[Agent, ...]


class Training:
    """One job under this supervisor."""

    def __init__(
        self,
        state: StateDir,
        folder: JobFolder,
        *,
        serve: bool,
        metrics: Metrics,
        on_change: OnChange,
        stop: asyncio.Event,
    ) -> None:
        self._state, self._folder, self._serve = state, folder, serve
        self._metrics, self._on_change, self._stop = metrics, on_change, stop
        self._workers, self._targets = Workers(folder), TargetsFile(folder.targets_file)
        self._job = folder.read()
        self._spec_stamp = self._stamp()
        self._written: JobStatus | None = None
        self._written_at = 0.0
        self._ticked_at = 0.0
        self.keeper: EndpointKeeper | None = None
        self.deleted = False

    async def run(self) -> TrainingJob:
        """Until the job has ended, is suspended, stopped or deleted, and no worker is left. Returns it with its
        status.
        """
        coordinator, server = await self._open()
        try:
            while True:
                coordinator.changed.clear()
                wake_at = await self._turn(coordinator)
                if wake_at is None:
                    return self._job
                await self._pause(coordinator, wake_at)
        finally:
            await server.stop(0.5)

    async def _open(self) -> tuple[Coordinator, CoordinatorServer]:
        """A new term begins: it is on disk before anybody can hear of it."""
        status = self._job.status if self._job.status is not None else JobStatus()
        self._job = replace(self._job, status=replace(status, term=(status.term or 0) + 1))
        await self._write_status(self._status())
        token, uid = self._folder.token(), self._job.metadata.uid or ""
        coordinator = Coordinator(
            job=self._folder.name,
            uid=uid,
            key=hmac.new(token.encode(), uid.encode(), hashlib.sha256).digest(),
            term=self._status().term,
            clock=time.monotonic,
        )
        server = CoordinatorServer(one_token(token, uid))
        server.open(coordinator)
        disk.replace(self._folder.coordinator_file, await server.start() + "\n")
        return coordinator, server

    async def _turn(self, coordinator: Coordinator) -> float | None:
        """One turn of the crank. Returns when to look again (Unix seconds), or None at the end."""
        looked = self._look(coordinator)
        now = time.time()
        decided = plan(looked.job, looked.observed, now)
        self._job = replace(self._job, status=decided.status)
        await self._write_status(decided.status)
        self._want(coordinator, looked)
        perform(self._state, looked.job, decided.actions, self._workers, coordinator)
        await self._tend_endpoint()
        self._metrics.update(self._job, looked.observed)
        self._targets.write(job_targets(self._folder.name, self._metrics.address, looked.observed.group))
        self._on_change(self._job, looked.observed.group)
        if self._over(looked, bool(decided.actions)):
            await self._write_status(decided.status, at_once=True)
            return None
        return now + LONGEST_PAUSE if decided.wake_at is None else min(decided.wake_at, now + LONGEST_PAUSE)

    def _look(self, coordinator: Coordinator) -> Looked:
        self._read_spec()
        job = self._job if self._serve else replace(self._job, spec=replace(self._job.spec, serve=None))
        agents = tuple(self._workers.seen())
        seen = coordinator.seen()
        result = seen.result or result_on_disk(job, self._folder.run_dir(job), agents)
        model = self._status().model
        digest = model.digest if model is not None else None
        if digest is None and result is not None and result.get("model"):
            digest = str(result["model"]["digest"])
        serve = job.spec.serve
        observed = Observed(
            workers=workers_seen(agents),
            exits=seen.exits,
            group=seen.group,
            result=result,
            endpoint=endpoint_seen(self._state, serve.endpoint, digest) if serve is not None else None,
            stop_requested=self._stop.is_set() or self.deleted,
        )
        return Looked(job=job, observed=observed, agents=agents)

    def _read_spec(self) -> None:
        """Follows what other processes wrote. A spec that is gone means: deleted, stop everything."""
        stamp = self._stamp()
        if stamp == self._spec_stamp:
            return
        try:
            self._job = replace(self._folder.read(), status=self._job.status)
            self._spec_stamp = stamp
        except NotFound:
            self.deleted = True

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._folder.spec_file.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)

    def _want(self, coordinator: Coordinator, looked: Looked) -> None:
        workers = looked.job.spec.workers
        newest = {agent.record.index: agent for agent in looked.agents}
        coordinator.want(
            replicas=workers.replicas,
            min_replicas=workers.min_replicas or 1,
            stall_seconds=looked.job.spec.run_policy.stall_seconds,
            indices=frozenset(range(workers.replicas)),
            incarnations={index: (agent.record.uid, agent.record.attempt) for index, agent in newest.items()},
            script=bool(looked.job.spec.command),
        )

    async def _tend_endpoint(self) -> None:
        """Once the model is published into the endpoint's spec, somebody must serve it: we, unless another does."""
        serve = self._job.spec.serve
        if not self._serve or serve is None or self._status().endpoint is None or self.deleted:
            return
        folder = self._state.endpoint(serve.endpoint)
        if not folder.exists():
            return
        if self.keeper is None:
            self.keeper = try_keeper(folder)
        if self.keeper is not None and time.monotonic() - self._ticked_at >= _SERVER_SECONDS:
            self._ticked_at = time.monotonic()
            await self.keeper.tick()

    def _over(self, looked: Looked, acting: bool) -> bool:
        alive = any(agent.alive for agent in looked.agents)
        if alive or acting:
            return False
        leaving = looked.observed.stop_requested or looked.job.spec.run_policy.suspend
        return finished(self._job) or leaving

    async def _write_status(self, status: JobStatus, *, at_once: bool = False) -> None:
        """Once a turn at most, and only what changed. A disk that refuses is tried again: the training goes on."""
        if status == self._written or self.deleted:
            return
        now = time.monotonic()
        quiet = self._written is not None and without_figures(status) == without_figures(self._written)
        if quiet and not at_once and now - self._written_at < _STATUS_SECONDS:
            return
        try:
            await asyncio.to_thread(self._folder.write_status, status)
        except StateUnusable:
            if at_once:
                raise
            return
        self._written, self._written_at = status, now

    def _status(self) -> JobStatus:
        return self._job.status if self._job.status is not None else JobStatus()

    async def _pause(self, coordinator: Coordinator, wake_at: float) -> None:
        await asyncio.sleep(SHORTEST_PAUSE)
        events = [coordinator.changed] if self._stop.is_set() else [coordinator.changed, self._stop]
        await _first(events, max(0.0, wake_at - time.time()))


async def _first(events: Sequence[asyncio.Event], timeout: float) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
