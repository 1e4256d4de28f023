"""Keeps what a job owns besides its pods: missing objects are made, changed ones put right, foreign ones left alone.

Asked by `jobkeeper` in each turn; it reads the stores, so that it costs no request where nothing is amiss. Their
deletion is heard by the stores, which wake the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ringyard_api.reasons import Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import KubeError, KubeExists, KubeForbidden, KubeNotFound, KubeUnreachable
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.desk import Desk
from ringyard_operator.kube.kinds import CONFIG_MAPS, POD_DISRUPTION_BUDGETS, SERVICES, Kind
from ringyard_operator.kube.statuses import MANAGER
from ringyard_operator.kube.stores import Stores
from ringyard_operator.observed import Refusal
from ringyard_operator.refusal import refusal_of_answer
from ringyard_operator.resources.children import job_children
from ringyard_operator.resources.comparison import same
from ringyard_operator.resources.owner import is_ours
from ringyard_operator.resources.setting import Setting

KINDS: Mapping[str, Kind] = {kind.kind: kind for kind in (SERVICES, CONFIG_MAPS, POD_DISRUPTION_BUDGETS)}
_LOOK_AGAIN_SECONDS = 5.0  # at somebody else's object of the same name


def foreign(kind: str, name: str) -> Refusal:
    """Somebody else's object stands where ours should."""
    sentence = f"{kind} {name} exists and is not this job's: delete it, or give the job another name"
    return Refusal(reason=Reason.FOREIGN_CHILD, sentence=sentence)


class Children:
    """Of all jobs of a term. `stores`: by kind, of all objects that carry a job's label."""

    def __init__(self, api: Api, setting: Setting, stores: Mapping[str, Stores]) -> None:
        self._api, self._setting, self._stores = api, setting, stores

    async def ensure(self, job: TrainingJob, desk: Desk, now: float) -> Refusal | None:
        """Makes them as they should be; a Refusal where somebody else's object or the namespace's end forbids it."""
        if desk.foreign is not None and now < desk.foreign[0]:
            return desk.foreign[1]
        desk.foreign = None
        looks = (self._one(child, desk.uid) for child in job_children(job, self._setting))
        refusal = next((each for each in await asyncio.gather(*looks) if each is not None), None)
        if refusal is not None:
            desk.foreign = (now + _LOOK_AGAIN_SECONDS, refusal)
        return refusal

    async def _one(self, wanted: dict[str, Any], uid: str) -> Refusal | None:
        kind, store = KINDS[wanted["kind"]], self._stores[wanted["kind"]]
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        found = store.get(namespace, name)
        if found is None:
            try:
                found = await self._make(kind, wanted)
            except (KubeForbidden, KubeNotFound) as error:
                return refusal_of_answer(error.status, error.message, namespace=namespace, what=kind.kind)
        if not is_ours(found, uid):
            return foreign(kind.kind, name)  # not remembered: the store would never hear that it went
        store.remember(found)
        if not found["metadata"].get("deletionTimestamp") and not same(wanted, found):
            store.remember(await self._put_right(kind, wanted, found))
        return None

    async def _make(self, kind: Kind, wanted: Json) -> Json:
        try:
            return await self._api.create(kind, wanted)
        except KubeExists:
            return await self._api.get(kind, wanted["metadata"]["name"], wanted["metadata"]["namespace"])

    async def _put_right(self, kind: Kind, wanted: Json, found: Json) -> Json:
        version = found["metadata"]["resourceVersion"]
        body = {
            **wanted,
            "metadata": {**wanted["metadata"], "resourceVersion": version, "uid": found["metadata"]["uid"]},
        }
        try:
            return await self._api.apply(kind, body, manager=MANAGER)
        except KubeUnreachable:
            raise
        except KubeError:  # it changed or went meanwhile: the store will tell, and the next turn looks again
            return found
