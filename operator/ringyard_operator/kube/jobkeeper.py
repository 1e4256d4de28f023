"""One turn of a TrainingJob on the cluster: observe, plan, write the status, perform. The twin of `local.training`.

Called by `office` for each job that is due. Everything that is decided comes from `plan`; this file turns the crank,
keeps one `Desk` a job for the term, and says when to look again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ringyard_api.jobstatus import JobStatus
from ringyard_api.reasons import ConditionType
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.actions import Plan
from ringyard_operator.conditions import holds
from ringyard_operator.coordinator import Coordinator, CoordinatorServer
from ringyard_operator.errors import KubeConflict, KubeNotFound
from ringyard_operator.kube import events
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.children import Children
from ringyard_operator.kube.desk import Desk
from ringyard_operator.kube.door import Door
from ringyard_operator.kube.jobkey import job_key
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, TRAINING_JOBS
from ringyard_operator.kube.known import Known, refresh
from ringyard_operator.kube.observe import observe
from ringyard_operator.kube.perform import Performer
from ringyard_operator.kube.statuses import write_status
from ringyard_operator.kube.stores import Stores
from ringyard_operator.kube.turns import Key
from ringyard_operator.metrics import Metrics
from ringyard_operator.observed import Observed
from ringyard_operator.plan import expiry, is_finished, managed_elsewhere, plan
from ringyard_operator.pods import is_worker
from ringyard_operator.progress import without_figures
from ringyard_operator.scripts import gang_port

FIGURE_SECONDS = 5.0  # figures are written this often, everything else at once
SETTLE_SECONDS = 10.0  # for the members of a running gang to find a new coordinator
LONGEST_PAUSE = 5.0  # while workers live: what only the clock tells (a silent node) is seen within it
_LISTEN_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Term:
    """What one holding of the Lease works with."""

    number: int
    instance: str
    secret: bytes
    api: Api
    known: Known
    pods: Stores
    server: CoordinatorServer
    held: Callable[[], bool]
    poke: Callable[[Key, float], None]


class JobKeeper:
    """All jobs of one term."""

    def __init__(self, term: Term, door: Door, children: Children, performer: Performer, metrics: Metrics) -> None:
        self._term, self._door, self._children, self._performer = term, door, children, performer
        self._metrics = metrics
        self._desks: dict[Key, Desk] = {}

    async def turn(self, key: Key) -> float | None:
        """One look at a job and what follows. Answers when to look again at the latest."""
        for _ in range(3):
            obj = self._term.known.get(key)
            desk = self._desks.get(key)
            if desk is not None and (obj is None or obj["metadata"]["uid"] != desk.uid):
                self._leave(key, desk)
                desk = None
            if obj is None:
                return None
            desk = desk or self._desks.setdefault(key, Desk(uid=obj["metadata"]["uid"], opened_at=time.time()))
            try:
                return await self._look(key, obj, desk)
            except (KubeConflict, KubeNotFound):
                await refresh(self._term.api, self._term.known, key, desk.uid)
        return time.time() + 1.0

    def close(self) -> None:
        """The term is over."""
        for key, desk in list(self._desks.items()):
            self._leave(key, desk)

    def _leave(self, key: Key, desk: Desk) -> None:
        self._close(desk)
        self._metrics.forget(key.namespace, key.name)
        del self._desks[key]

    async def _look(self, key: Key, obj: Json, desk: Desk) -> float | None:
        job, problems = desk.read(obj)
        if obj["metadata"].get("deletionTimestamp") or managed_elsewhere(job):
            self._close(desk)  # the garbage collector sends the pods away; of another's job we do nothing at all
            return None
        now = time.time()
        if (due := expiry(job, job.status or JobStatus())) is not None and now >= due:
            await self._expire(key, obj)
            return None
        pods = [pod for pod in self._term.pods.of_owner(desk.uid) if is_worker(pod)]
        finished = job.status is not None and is_finished(job.status)
        if any(_may_run(pod) for pod in pods) or not (finished or job.spec.run_policy.suspend):
            self._open(key, job, desk)
        else:
            self._close(desk)  # who comes after a suspension begins anew
        refusal = None
        if not finished:
            refusal = await self._door.refusal(job, problems, desk, now)
            if refusal is None or not refusal.final:
                refusal = await self._children.ensure(job, desk, now) or refusal
        observed = await observe(self._term.api, job, pods, self._endpoint(job), desk, refusal, now)
        self._want(job, desk, pods)
        if not finished and _settling(job, desk, observed, now):
            return now + 1.0
        decided = plan(job, observed, now)
        if not is_finished(decided.status) and decided.status.term != self._term.number:
            decided = replace(decided, status=replace(decided.status, term=self._term.number))
        after = await self._write(obj, job, decided, desk)
        done = replace(job, status=decided.status)
        self._metrics.update(done, observed)
        await self._follow(done, obj if after is None else after, job, decided, desk, pods, now)
        return self._again(desk, decided, observed, pods, now)

    async def _write(self, obj: Json, job: TrainingJob, decided: Plan, desk: Desk) -> Json | None:
        """The status, if it says anything new; None where nothing was written. Figures have time."""
        before = job.status or JobStatus()
        if decided.status == before:
            return None
        quiet = obj.get("status") and without_figures(decided.status) == without_figures(before)
        if quiet and time.monotonic() - desk.written_at < FIGURE_SECONDS:
            return None
        written = await write_status(self._term.api, self._term.known, TRAINING_JOBS, obj, decided.status)
        desk.written_at = time.monotonic()
        return written

    async def _follow(
        self, done: TrainingJob, obj: Json, job: TrainingJob, decided: Plan, desk: Desk, pods: list[Json], now: float
    ) -> None:
        """What comes after the status: the actions, and the Events."""
        before = job.status.conditions if job.status is not None else ()
        said = events.news(before, decided.status.conditions)
        outcome, _ = await asyncio.gather(
            self._performer.perform(done, decided.actions, desk, pods, now),
            events.post(self._term.api, obj, said, now=now, instance=self._term.instance),
            return_exceptions=True,
        )
        if isinstance(outcome, BaseException):
            raise outcome

    def _again(self, desk: Desk, decided: Plan, observed: Observed, pods: list[Json], now: float) -> float | None:
        times = [decided.wake_at, desk.coordinator.wake_at() if desk.coordinator is not None else None]
        if desk.refused is not None:
            times.append(desk.refused.retry_at)
        if desk.foreign is not None and observed.refusal is not None:
            times.append(desk.foreign[0])
        if decided.actions or any(_may_run(pod) for pod in pods):
            times.append(now + LONGEST_PAUSE)
        return min((each for each in times if each is not None), default=None)

    async def _expire(self, key: Key, obj: Json) -> None:
        metadata = obj["metadata"]
        await self._term.api.delete(
            TRAINING_JOBS,
            key.name,
            key.namespace,
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )
        log.info("%s/%s: deleted, its ttlSecondsAfterFinished is over", key.namespace, key.name)

    def _endpoint(self, job: TrainingJob) -> Json | None:
        if job.spec.serve is None:
            return None
        return self._term.known.get(Key(MODEL_ENDPOINTS.kind, job.metadata.namespace, job.spec.serve.endpoint))

    # The coordinator

    def _open(self, key: Key, job: TrainingJob, desk: Desk) -> None:
        if desk.coordinator is not None:
            return
        desk.coordinator = Coordinator(
            job=job.metadata.name,
            uid=desk.uid,
            key=job_key(self._term.secret, desk.uid),
            term=self._term.number,
            held=self._term.held,
            pick_port=partial(gang_port, self._term.number),
        )
        desk.opened_at = time.time()
        self._term.server.open(desk.coordinator)
        desk.listener = asyncio.create_task(self._listen(key, desk.coordinator), name=f"listener of {key.name}")

    async def _listen(self, key: Key, coordinator: Coordinator) -> None:
        while True:
            await coordinator.changed.wait()
            coordinator.changed.clear()
            self._term.poke(key, 0.0)
            await asyncio.sleep(_LISTEN_SECONDS)

    def _close(self, desk: Desk) -> None:
        if desk.coordinator is None:
            return
        if desk.listener is not None:
            desk.listener.cancel()
        self._term.server.close(desk.uid)
        desk.coordinator = desk.listener = None

    def _want(self, job: TrainingJob, desk: Desk, pods: list[Json]) -> None:
        if desk.coordinator is None:
            return
        newest = {int(_label(pod, "index")): pod for pod in sorted(pods, key=lambda pod: int(_label(pod, "attempt")))}
        workers = job.spec.workers
        desk.coordinator.want(
            replicas=workers.replicas,
            min_replicas=workers.min_replicas or 1,
            stall_seconds=job.spec.run_policy.stall_seconds,
            indices=frozenset(range(workers.replicas)),
            incarnations={
                index: (pod["metadata"]["uid"], int(_label(pod, "attempt"))) for index, pod in newest.items()
            },
            script=bool(job.spec.command),
            hosts={index: ip for index, pod in newest.items() if (ip := (pod.get("status") or {}).get("podIP"))},
        )


def _settling(job: TrainingJob, desk: Desk, observed: Observed, now: float) -> bool:
    """Whether a gang that ran under the coordinator before is still on its way to ours: then nothing is decided yet,
    so that a new holder of the Lease does not tell that the job stopped and began again.
    """
    if desk.settled:
        return False
    status = job.status or JobStatus()
    here = sum(1 for member in observed.group.members if member.in_view) if observed.group is not None else 0
    live = len({w.index for w in observed.workers if w.phase == "Running"})
    ready = status.workers.ready
    desk.settled = (
        not holds(status.conditions, ConditionType.RUNNING)
        or here >= ready
        or live < ready
        or observed.result is not None
        or now >= desk.opened_at + SETTLE_SECONDS
    )
    return not desk.settled


def _may_run(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _label(pod: Json, name: str) -> str:
    return str(pod["metadata"]["labels"][f"ringyard.dev/{name}"])
