"""What the Lease's holder does while it is in office: looks after all jobs and endpoints, and serves their coordinator.

Run by `operate`, for ever: wait for the Lease, work, and wait again when it is lost. Whatever is known only in memory
ends with the term; a standby knows nothing but what kopf brings it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ringyard_operator.coordinator import CoordinatorServer
from ringyard_operator.errors import KubeError, RingyardError
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.address import publish_address
from ringyard_operator.kube.api import Json
from ringyard_operator.kube.children import KINDS, Children
from ringyard_operator.kube.door import Door
from ringyard_operator.kube.endpointchildren import endpoint_stores
from ringyard_operator.kube.endpointkeeper import EndpointKeeper
from ringyard_operator.kube.inoffice import OfficeApi
from ringyard_operator.kube.jobkeeper import JobKeeper, Term
from ringyard_operator.kube.jobkey import operator_secret
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, PODS, TRAINING_JOBS
from ringyard_operator.kube.known import Known
from ringyard_operator.kube.lease import Leadership
from ringyard_operator.kube.perform import Performer
from ringyard_operator.kube.stores import Stores
from ringyard_operator.kube.tokens import PodTokens
from ringyard_operator.kube.turns import Key, Turns
from ringyard_operator.metrics import Metrics
from ringyard_operator.operatormetrics import OperatorMetrics
from ringyard_operator.resources import names
from ringyard_operator.resources.setting import Setting

_TURN_SECONDS = 3.0  # for the turns in hand when the office is left
_AGAIN_SECONDS = 2.0
_ADDRESS_SECONDS = 30.0  # somebody may have deleted the coordinator's address

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where this operator is: its name, and where its coordinator is reached.

    `service`: the Service whose address is written; empty: nobody's, workers are told another address.
    """

    namespace: str
    identity: str
    ip: str
    bind: str
    port: int
    service: str


class Office:
    """One candidate for the office and its work there."""

    def __init__(
        self,
        access: Access,
        leadership: Leadership,
        known: Known,
        setting: Setting,
        place: Place,
        namespaces: tuple[str, ...],
        metrics: Metrics,
        figures: OperatorMetrics,
    ) -> None:
        self._access, self._leadership, self._known = access, leadership, known
        self._setting, self._place, self._namespaces = setting, place, namespaces
        self._metrics, self._figures = metrics, figures
        self._stores: list[Stores] = []

    def age(self) -> float:
        """Seconds since the stream that is longest silent gave a sign of life; 0 out of office."""
        return max((store.age() for store in self._stores), default=0.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then the Lease is given back so that a standby follows at once."""
        while not stop.is_set():
            if not await _unless(stop, self._leadership.acquire()):
                return
            log.info("in office: term %d", self._leadership.term)
            self._figures.in_office(self._leadership.term)
            try:
                await self._serve_term(stop)
            except* RingyardError as errors:
                log.error("the term ends early: %s; trying again", "; ".join(map(str, _all(errors))))
            finally:
                self._figures.out_of_office()
                await self._leadership.release()
            log.info("out of office")
            if not stop.is_set():
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _serve_term(self, stop: asyncio.Event) -> None:
        api = OfficeApi(self._access, self._leadership.held)
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._work(api))
                await _first(stop.wait(), self._leadership.lost.wait(), asyncio.wait({work}))
                work.cancel()
        finally:
            await api.close()

    async def _work(self, api: OfficeApi) -> None:
        turns = Turns(self._turn, self._turned)
        pods = Stores(api, PODS, self._namespaces, labels=names.JOB, changed=_owner_poked(turns))
        children = {
            name: Stores(api, kind, self._namespaces, labels=names.JOB, changed=_owner_poked(turns))
            for name, kind in KINDS.items()
        }
        served = endpoint_stores(api, self._namespaces, _endpoint_poked(turns))
        self._stores = [pods, *children.values(), *served.values()]
        server = CoordinatorServer(PodTokens(api, self._setting.audience, pods.of_uid))
        secret = await operator_secret(api, self._place.namespace)
        term = Term(
            number=self._leadership.term,
            instance=self._place.identity,
            secret=secret,
            api=api,
            known=self._known,
            pods=pods,
            server=server,
            held=self._leadership.held,
            poke=turns.poke,
        )
        door = Door(api, self._setting)
        performer = Performer(api, self._setting, pods, self._known, door)
        self._jobs = JobKeeper(term, door, Children(api, self._setting, children), performer, self._metrics)
        instance = self._place.identity
        self._endpoints = EndpointKeeper(api, self._setting, secret, self._known, served, instance)
        try:
            async with asyncio.TaskGroup() as group:
                for store in self._stores:
                    group.create_task(store.run())
                for store in self._stores:
                    await store.synced()
                await self._begin_to_serve(server)
                group.create_task(self._keep_address(api))
                self._known.changed = lambda key: self._poke(turns, key)
                for key in self._known.all_keys():
                    turns.poke(key)
                group.create_task(turns.run())
        finally:
            self._known.changed = lambda _: None
            if not self._leadership.held():
                server.drop()  # another may lead by now
            await turns.close(_TURN_SECONDS)
            self._jobs.close()
            await self._endpoints.close()
            self._stores = []
            await server.stop(0.2)

    async def _begin_to_serve(self, server: CoordinatorServer) -> None:
        try:
            await server.start(f"{self._place.bind}:{self._place.port}")
        except OSError as error:
            raise RingyardError(f"--coordinator-port {self._place.port}: cannot be had ({error})") from error

    async def _turn(self, key: Key) -> float | None:
        if key.kind == TRAINING_JOBS.kind:
            return await self._jobs.turn(key)
        return await self._endpoints.turn(key)

    def _turned(self, key: Key, seconds: float, error: BaseException | None) -> None:
        self._figures.turned(key.kind, seconds, error)

    def _poke(self, turns: Turns, key: Key) -> None:
        """An endpoint that changed wakes the jobs that publish into it as well."""
        turns.poke(key)
        if key.kind == TRAINING_JOBS.kind:
            return
        for other in self._known.all_keys():
            if (other.kind, other.namespace) == (TRAINING_JOBS.kind, key.namespace):
                spec = (self._known.get(other) or {}).get("spec") or {}
                if (spec.get("serve") or {}).get("endpoint") == key.name:
                    turns.poke(other)

    async def _keep_address(self, api: OfficeApi) -> None:
        """Workers find the coordinator here, and not where the holder before was."""
        place, wait = self._place, _AGAIN_SECONDS
        said = ""
        while place.service:
            try:
                await publish_address(
                    api, namespace=place.namespace, service=place.service, ip=place.ip, port=place.port
                )
                said, wait = "", _ADDRESS_SECONDS
            except KubeError as error:
                wait = _AGAIN_SECONDS
                if said != str(error):
                    said = str(error)
                    log.error("workers cannot find the coordinator: %s; trying again", error)
            await asyncio.sleep(wait)


def _owner_poked(turns: Turns) -> Callable[[Json], None]:
    """Something of a job came, changed or went: the job has its turn."""

    def poke(obj: Json) -> None:
        metadata = obj["metadata"]
        if job := (metadata.get("labels") or {}).get(names.JOB):
            turns.poke(Key(TRAINING_JOBS.kind, metadata.get("namespace", ""), job))

    return poke


def _endpoint_poked(turns: Turns) -> Callable[[Json], None]:
    """The same for an endpoint."""

    def poke(obj: Json) -> None:
        metadata = obj["metadata"]
        if endpoint := (metadata.get("labels") or {}).get(names.ENDPOINT):
            turns.poke(Key(MODEL_ENDPOINTS.kind, metadata.get("namespace", ""), endpoint))

    return poke


def _all(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors of a group and of the groups inside."""
    found = []
    for each in errors.exceptions:
        found += _all(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Waits for the first of them."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Does the work unless `stop` comes first. Says whether it is done."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
