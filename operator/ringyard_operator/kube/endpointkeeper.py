"""One turn of a ModelEndpoint on the cluster: its children, its servers, its status. The twin of `local.endpoint`.

Called by `office` for each endpoint that is due. Which versions there are is decided by whoever writes the spec; what
the status says is `endpointstatus`' knowledge. The ConfigMap is written before the servers are told, so a server that
starts meanwhile reads the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ringyard_api import claims
from ringyard_api.clusterobject import endpoint_of
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointStatus
from ringyard_api.problems import Problem
from ringyard_api.reasons import Reason

from ringyard_operator import serverpods
from ringyard_operator.control import WantedVersion
from ringyard_operator.endpointstatus import ServerSeen, Why, endpoint_status, settled
from ringyard_operator.errors import KubeConflict
from ringyard_operator.kube import events
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.endpointchildren import EndpointChildren
from ringyard_operator.kube.jobkey import endpoint_token
from ringyard_operator.kube.kinds import DEPLOYMENTS, MODEL_ENDPOINTS, PODS
from ringyard_operator.kube.known import Known, refresh
from ringyard_operator.kube.servers import Servers
from ringyard_operator.kube.statuses import write_status
from ringyard_operator.kube.stores import Stores
from ringyard_operator.kube.turns import Key
from ringyard_operator.resources import names
from ringyard_operator.resources.serving import GRPC_PORT, endpoint_children, selector, wanted_json
from ringyard_operator.resources.setting import Setting

_LOADING_SECONDS = 0.5  # a server says that it is ready before the kubelet does
_UNSETTLED_SECONDS = 5.0
_SETTLED_SECONDS = 15.0
_CALM = frozenset({Reason.SERVING, Reason.LOADING, Reason.NO_VERSION})


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """What is kept of one endpoint during a term."""

    uid: str
    token: str  # by which its servers know us
    servers: Servers


class EndpointKeeper:
    """All endpoints of one term. `stores`: by kind, as `endpoint_stores` makes them; `instance`: who tells Events."""

    def __init__(
        self, api: Api, setting: Setting, secret: bytes, known: Known, stores: Mapping[str, Stores], instance: str
    ) -> None:
        self._api, self._setting, self._secret = api, setting, secret
        self._known, self._stores, self._instance = known, stores, instance
        self._children = EndpointChildren(api, stores)
        self._desks: dict[Key, _Desk] = {}

    async def turn(self, key: Key) -> float | None:
        """One look at an endpoint and what follows. Answers when to look again at the latest."""
        obj = self._known.get(key)
        desk = self._desks.get(key)
        if desk is not None and (obj is None or obj["metadata"]["uid"] != desk.uid):
            await self._desks.pop(key).servers.close()
            desk = None
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None  # the garbage collector sends the servers away
        if desk is None:
            uid = obj["metadata"]["uid"]
            token = endpoint_token(self._secret, uid)
            desk = _Desk(uid=uid, token=token, servers=Servers(key.name, token))
            self._desks[key] = desk
        try:
            return await self._look(key, obj, desk)
        except KubeConflict:
            await refresh(self._api, self._known, key, desk.uid)
            return time.time()

    async def close(self) -> None:
        """The term is over."""
        for desk in self._desks.values():
            await desk.servers.close()
        self._desks.clear()

    async def _look(self, key: Key, obj: Json, desk: _Desk) -> float:
        endpoint, problems = endpoint_of(obj)
        refused = _refused(endpoint, problems)
        trouble, mounted = refused, frozenset[str]()
        if refused is None:
            children = endpoint_children(endpoint, self._setting, desk.token)
            mounted = _mounted(children)
            trouble = await self._children.ensure(children, desk.uid)
        seen = await self._servers(key, endpoint, desk, mounted, push=trouble is None)
        deployment = self._stores[DEPLOYMENTS.kind].get(key.namespace, names.servers(key.name))
        now = time.time()
        status = endpoint_status(
            endpoint,
            seen,
            wanted=endpoint.spec.replicas,
            url=f"grpc://{names.service(key.name)}.{key.namespace}.svc:{GRPC_PORT}",
            selector=",".join(f"{name}={value}" for name, value in selector(key.name).items()),
            trouble=trouble or serverpods.deployment_trouble(deployment),
            now=now,
        )
        await self._write(obj, endpoint, status, now)
        if trouble is None and any(each.phase == "LOADING" for each in status.versions) and any(s.state for s in seen):
            return now + _LOADING_SECONDS
        return now + (_SETTLED_SECONDS if settled(status, endpoint.spec.replicas) else _UNSETTLED_SECONDS)

    async def _servers(
        self, key: Key, endpoint: ModelEndpoint, desk: _Desk, mounted: frozenset[str], *, push: bool
    ) -> tuple[ServerSeen, ...]:
        """All servers. One whose pod lacks a claim is not told of what lies there: another takes its place."""
        pods = [
            pod
            for pod in self._stores[PODS.kind].all()
            if pod["metadata"].get("namespace", "") == key.namespace and serverpods.is_server(pod, key.name)
        ]
        reach = [pod for pod in pods if serverpods.mounts_all(pod, mounted)]
        wanted = _wanted(endpoint) if push else None
        states = await desk.servers.ask(reach, endpoint.metadata.generation, wanted)
        uids = [pod["metadata"]["uid"] for pod in pods]
        return tuple(
            serverpods.server_seen(pod, states.get(uid), mounted, unheard=desk.servers.unheard(uid))
            for uid, pod in zip(uids, pods, strict=True)
        )

    async def _write(self, obj: Json, endpoint: ModelEndpoint, status: ModelEndpointStatus, now: float) -> None:
        """The status, and an Event where its condition says something new."""
        if endpoint.status == status:
            return
        written = await write_status(self._api, self._known, MODEL_ENDPOINTS, obj, status)
        before = endpoint.status.conditions if endpoint.status is not None else ()
        said = [replace(each, warning=each.reason not in _CALM) for each in events.news(before, status.conditions)]
        await events.post(self._api, written, said, now=now, instance=self._instance)


def _refused(endpoint: ModelEndpoint, problems: Sequence[Problem]) -> Why | None:
    """What no server could follow; then they go on with what they have."""
    said = [str(each) for each in problems]
    for at, version in enumerate(endpoint.spec.versions):
        path = f"spec.versions[{at}].uri"
        try:
            claims.parse(version.uri)
        except ValueError as error:
            said.append(f"{path}: {error}")
    return ("; ".join(said), Reason.NOT_SUPPORTED) if said else None


def _mounted(children: Sequence[dict[str, Any]]) -> frozenset[str]:
    """The claims that a server's pod mounts."""
    deployment = next(each for each in children if each["kind"] == DEPLOYMENTS.kind)
    return frozenset(serverpods.claims_of(deployment["spec"]["template"]["spec"]))


def _wanted(endpoint: ModelEndpoint) -> tuple[WantedVersion, ...]:
    return tuple(WantedVersion(**each) for each in wanted_json(endpoint)["versions"])
