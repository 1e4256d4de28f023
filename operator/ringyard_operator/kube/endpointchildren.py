"""Keeps what an endpoint owns: missing objects are made, changed ones put right, foreign ones left alone.

Asked by `endpointkeeper` in each turn; it reads the stores, so that it costs no request where nothing is amiss. Their
deletion is heard by the stores, which wake the endpoint. Nothing is ever deleted: the garbage collector does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ringyard_api.reasons import Reason

from ringyard_operator.endpointstatus import Why
from ringyard_operator.errors import KubeConflict, KubeError, KubeNotFound, KubeUnreachable
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import CONFIG_MAPS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, SERVICES, Kind
from ringyard_operator.kube.statuses import MANAGER
from ringyard_operator.kube.stores import Stores
from ringyard_operator.refusal import refusal_of_answer
from ringyard_operator.resources import names
from ringyard_operator.resources.comparison import same
from ringyard_operator.resources.owner import is_ours

_KINDS: Final[Mapping[str, Kind]] = {
    kind.kind: kind for kind in (CONFIG_MAPS, SERVICES, POD_DISRUPTION_BUDGETS, DEPLOYMENTS)
}


def endpoint_stores(api: Api, namespaces: Sequence[str], changed: Callable[[Json], None]) -> Mapping[str, Stores]:
    """By kind, everything that carries an endpoint's label: its children, and the pods of its Deployment."""
    kinds = (*_KINDS.values(), PODS)
    return {kind.kind: Stores(api, kind, namespaces, labels=names.ENDPOINT, changed=changed) for kind in kinds}


class EndpointChildren:
    """Of all endpoints of a term."""

    def __init__(self, api: Api, stores: Mapping[str, Stores]) -> None:
        self._api, self._stores = api, stores

    async def ensure(self, children: Sequence[dict[str, Any]], uid: str) -> Why | None:
        """Makes them as they should be, in their order; why not, where one cannot be."""
        for child in children:
            if (why := await self._one(child, uid)) is not None:
                return why
        return None

    async def _one(self, wanted: dict[str, Any], uid: str) -> Why | None:
        kind, store = _KINDS[wanted["kind"]], self._stores[wanted["kind"]]
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        found = store.get(namespace, name)
        try:
            if found is None:
                found = await self._make(kind, wanted)
                if is_ours(found, uid):  # the store would never hear that somebody else's went
                    store.remember(found)
            if not is_ours(found, uid):
                sentence = f"{kind.kind} {name} exists and is not this endpoint's: delete it, or rename the endpoint"
                return sentence, Reason.FOREIGN_CHILD
            if not found["metadata"].get("deletionTimestamp") and not same(wanted, found):
                store.remember(await self._put_right(kind, wanted, found))
        except (KubeUnreachable, KubeConflict):
            raise
        except KubeError as error:
            refusal = refusal_of_answer(error.status, error.message, namespace=namespace, what=kind.kind)
            if refusal is None or refusal.reason is Reason.TEMPLATE_REFUSED:
                raise
            return refusal.sentence, refusal.reason
        return None

    async def _make(self, kind: Kind, wanted: Json) -> Json:
        """By server-side apply, so that what is put right later can also take fields away."""
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        try:
            return await self._api.get(kind, name, namespace)  # it lacks our label, or no store has heard of it yet
        except KubeNotFound:
            return await self._api.apply(kind, wanted, manager=MANAGER)

    async def _put_right(self, kind: Kind, wanted: Json, found: Json) -> Json:
        metadata = found["metadata"]
        same_one = {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}
        try:
            body = {**wanted, "metadata": {**wanted["metadata"], **same_one}}
            return await self._api.apply(kind, body, manager=MANAGER)
        except (KubeConflict, KubeNotFound):  # it changed or went meanwhile: the store will tell, and wake us
            return found
