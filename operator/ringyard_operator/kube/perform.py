"""Performs the actions of a plan on pods, the coordinator and the endpoint. Called by `jobkeeper` after the status.

Every action may come again: to perform it twice is to perform it once. A pod that the API server does not take becomes
a Refusal that the next turn sees. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.actions import Action, FinishGroup, ForgetWorker, Order, PublishModel, StartWorker, StopWorker
from ringyard_operator.coordinator import Coordinator
from ringyard_operator.errors import KubeConflict, KubeError, KubeExists
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.children import foreign
from ringyard_operator.kube.desk import Desk
from ringyard_operator.kube.door import Door
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, PODS
from ringyard_operator.kube.known import Known
from ringyard_operator.kube.publishing import publish
from ringyard_operator.kube.stores import Stores
from ringyard_operator.plan import is_finished
from ringyard_operator.refusal import refusal_of_answer
from ringyard_operator.resources.owner import is_ours
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import worker_pod

_USUAL_GRACE = StopWorker.__dataclass_fields__["grace_seconds"].default

log = logging.getLogger(__name__)


class Performer:
    """The hands of one term."""

    def __init__(self, api: Api, setting: Setting, pods: Stores, known: Known, door: Door) -> None:
        self._api, self._setting, self._pods, self._known, self._door = api, setting, pods, known, door

    async def perform(
        self, job: TrainingJob, actions: Iterable[Action], desk: Desk, pods: Sequence[Json], now: float
    ) -> None:
        """Does what the plan says; pods are made and deleted side by side. Raises the first KubeError at the end."""
        there = {pod["metadata"]["uid"]: pod for pod in pods}
        requests = []
        for action in actions:
            match action:
                case StartWorker():
                    requests.append(self._start(job, action, desk, now))
                case StopWorker() if _stays(job) and desk.coordinator is not None:
                    _leave(desk.coordinator, action)
                case StopWorker():
                    requests.append(self._stop(there.get(action.uid), action, desk))
                case ForgetWorker():
                    requests.append(self._forget(there.get(action.uid), action, desk))
                case Order() if desk.coordinator is not None:
                    desk.coordinator.order(action)
                case FinishGroup() if desk.coordinator is not None:
                    desk.coordinator.finish(action.reason)
                case PublishModel():
                    requests.append(self._publish(job, action))
        answers = await asyncio.gather(*requests, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _start(self, job: TrainingJob, action: StartWorker, desk: Desk, now: float) -> None:
        pod = worker_pod(job, action.index, action.attempt, self._setting)
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        try:
            self._pods.remember(await self._api.create(PODS, pod))
        except KubeExists:
            found = await self._api.get(PODS, name, namespace)
            if is_ours(found, desk.uid):
                self._pods.remember(found)
                return
            self._door.note(desk, foreign("Pod", name), action.index, action.attempt, now)
            return
        except KubeError as error:
            refusal = refusal_of_answer(error.status, error.message, namespace=namespace)
            if refusal is None:
                raise
            self._door.note(desk, refusal, action.index, action.attempt, now)
            return
        log.info("%s/%s: started pod %s (%s)", namespace, job.metadata.name, name, action.reason)

    async def _stop(self, pod: Json | None, action: StopWorker, desk: Desk) -> None:
        desk.told.add(action.uid)
        if pod is None:
            return
        grace = None if action.grace_seconds == _USUAL_GRACE else action.grace_seconds  # else the pod's own
        await self._delete(pod, grace)
        log.info("%s/%s: told to go (%s)", pod["metadata"]["namespace"], pod["metadata"]["name"], action.reason)

    async def _forget(self, pod: Json | None, action: ForgetWorker, desk: Desk) -> None:
        if pod is not None:
            await self._delete(pod, None)
        if desk.coordinator is not None:
            desk.coordinator.forget(action.uid)

    async def _delete(self, pod: Json, grace: float | None) -> None:
        metadata = pod["metadata"]
        try:
            answer = await self._api.delete(
                PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace=grace
            )
        except KubeConflict:
            return  # another pod of that name stands there now: ours is gone
        if answer is not None and answer.get("kind") == "Pod":
            self._pods.remember(answer)

    async def _publish(self, job: TrainingJob, action: PublishModel) -> None:
        endpoint = await publish(self._api, job, action.endpoint, action.uri, action.digest)
        if endpoint is not None:
            self._known.remember(MODEL_ENDPOINTS.kind, endpoint)


def _stays(job: TrainingJob) -> bool:
    """Whether the pods of an ended job are left as they are: then a worker ends by itself, and its pod remains."""
    ended = job.status is not None and is_finished(job.status)
    return ended and job.spec.run_policy.clean_pod_policy == "None"


def _leave(coordinator: Coordinator, action: StopWorker) -> None:
    report = coordinator.group.agents.reports.get(action.uid)
    if report is not None:
        coordinator.order(
            Order(uid=action.uid, process_attempt=report.process_attempt, verb="LEAVE", reason=action.reason)
        )
