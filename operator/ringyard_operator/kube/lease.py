"""Who of several operators is in office: one at a time, by a `Lease` that it renews and the others watch.

`office` holds one while it works. Nobody's wall clock is trusted: a standby takes over when the record has not changed
for the Lease's duration by its own monotonic clock, and a holder that could not renew takes itself for out of office
earlier than that. The term rises with every holding. Source: client-go tools/leaderelection (the same record, so
`kubectl get lease` reads well); the release is its own as well: no holder.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from ringyard_operator.errors import ClusterUnknown, KubeConflict, KubeError, KubeExists, KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import LEASES
from ringyard_operator.kube.store import Store

_MARGIN = 0.2  # of the duration: requests that are under way when the office is lost must be over before a successor's
_RETRY_SECONDS = 0.5
_TERMS_SINCE = 1_577_836_800  # 2020: a Lease made anew counts from the seconds since, so that a deleted one takes no
# term back: members refuse a lower one than they have seen. Takeovers are rarer than one a second; it fits until 2088.

log = logging.getLogger(__name__)


class Leadership:
    """One candidate. `identity` is that of one process at a time: a pod's name, for one."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = 10.0,
        renew: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._name, self._identity = api, namespace, name, identity
        self._duration, self._every, self._clock = duration, renew, clock
        self._until = float("-inf")
        self._lease: Json = {}
        self._keeper: asyncio.Task[None] | None = None
        self.term = 0
        self.lost = asyncio.Event()

    def held(self) -> bool:
        """Whether we are in office at this instant."""
        return self._clock() < self._until

    async def acquire(self) -> int:
        """Waits until we are in office, and returns the term; renews from then on until `lost` or `release`."""
        await self._stop_keeper()
        self._until = float("-inf")
        self.lost.clear()
        news = asyncio.Event()
        store = Store(
            self._api,
            LEASES,
            namespace=self._namespace,
            fields=f"metadata.name={self._name}",
            changed=lambda _: news.set(),
        )
        watching = asyncio.create_task(store.run())
        try:
            await store.synced.wait()
            await self._wait_for_office(store, news)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._keeper = asyncio.create_task(self._keep())
        return self.term

    async def release(self) -> None:
        """Leaves office so that a standby follows at once. Whoever calls it has stopped working before."""
        await self._stop_keeper()
        if not self.held():
            return
        self._until = float("-inf")
        spec = {key: value for key, value in self._lease["spec"].items() if key != "holderIdentity"}
        with suppress(KubeError, ClusterUnknown):  # then the Lease runs out by itself
            await self._put({**spec, "renewTime": _now()})
        self.lost.set()

    async def _wait_for_office(self, store: Store, news: asyncio.Event) -> None:
        seen: tuple[object, ...] | None = None
        seen_at = self._clock()
        while True:
            news.clear()
            lease = store.get(self._namespace, self._name)
            record = _record(lease)
            if record != seen:
                seen, seen_at = record, self._clock()
            remaining = self._patience(lease, seen_at)
            if remaining <= 0 and await self._take(lease, store):
                return
            if remaining <= 0:
                remaining = _RETRY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), remaining)

    def _patience(self, lease: Json | None, seen_at: float) -> float:
        """Seconds to leave the holder in peace; none if there is no other."""
        spec = (lease or {}).get("spec") or {}
        if spec.get("holderIdentity", "") in ("", self._identity):
            return 0.0
        return seen_at + float(spec.get("leaseDurationSeconds") or self._duration) - self._clock()

    async def _take(self, lease: Json | None, store: Store) -> bool:
        """One attempt; another candidate may be faster."""
        began = self._clock()
        old = (lease or {}).get("spec") or {}
        floor = int(time.time() - _TERMS_SINCE) if lease is None else 0
        term = max(int(old.get("leaseTransitions") or 0), floor) + 1
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": term,
        }
        try:
            async with asyncio.timeout(self._duration / 2):
                if lease is None:
                    metadata = {"name": self._name, "namespace": self._namespace}
                    taken = await self._api.create(LEASES, {"metadata": metadata, "spec": spec})
                else:
                    taken = await self._api.replace(LEASES, {**lease, "spec": {**old, **spec}})
        except (KubeConflict, KubeExists, KubeNotFound):
            await self._look(store)
            return False
        except (KubeError, ClusterUnknown, TimeoutError) as error:
            log.warning("the Lease %s/%s cannot be taken: %s", self._namespace, self._name, error or "no answer")
            return False
        self._lease, self.term, self._until = taken, term, began + self._duration * (1 - _MARGIN)
        return True

    async def _look(self, store: Store) -> None:
        """Somebody wrote the Lease and the watch has not said so yet."""
        with suppress(KubeError, ClusterUnknown):
            store.remember(await self._api.get(LEASES, self._name, self._namespace))

    async def _keep(self) -> None:
        """Renews until the office is lost."""
        pause = self._every
        try:
            while self.held():
                await asyncio.sleep(min(pause, max(0.0, self._until - self._clock())))
                if not self.held():
                    return
                pause = self._every if await self._renew() else _RETRY_SECONDS
        finally:
            self.lost.set()

    async def _renew(self) -> bool:
        """One attempt; a Lease that is another's now ends the office at once."""
        began = self._clock()
        try:
            async with asyncio.timeout(max(0.0, min(self._duration / 3, self._until - began))):
                await self._put({**self._lease["spec"], "renewTime": _now()})
        except (KubeConflict, KubeNotFound):
            await self._look_again()
            return False
        except (KubeError, ClusterUnknown, TimeoutError) as error:
            log.warning("the Lease %s/%s cannot be renewed: %s", self._namespace, self._name, error or "no answer")
            return False
        self._until = began + self._duration * (1 - _MARGIN)
        return True

    async def _look_again(self) -> None:
        """Our picture of the Lease is old: somebody touched it (then we go on), took it, or deleted it."""
        try:
            async with asyncio.timeout(max(0.0, self._until - self._clock())):
                lease = await self._api.get(LEASES, self._name, self._namespace)
        except KubeNotFound:
            self._until = float("-inf")
            return
        except (KubeError, ClusterUnknown, TimeoutError):
            return
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") == self._identity and spec.get("leaseTransitions") == self.term:
            self._lease = lease
        else:
            log.warning("the Lease %s/%s is held by %s now", self._namespace, self._name, spec.get("holderIdentity"))
            self._until = float("-inf")

    async def _put(self, spec: Json) -> None:
        self._lease = await self._api.replace(LEASES, {**self._lease, "spec": spec})

    async def _stop_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None


def _record(lease: Json | None) -> tuple[object, ...]:
    """What changes whenever the holder gives a sign of life."""
    spec = (lease or {}).get("spec") or {}
    return spec.get("holderIdentity"), spec.get("leaseTransitions"), spec.get("renewTime")


def _now() -> str:
    """A `MicroTime`: for people who read the Lease, and a sign of life to others; no one compares it with a clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
