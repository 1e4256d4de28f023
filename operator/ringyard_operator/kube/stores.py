"""One kind's `Store`s of all namespaces that we look after, as one: a cluster-wide one, or one a namespace.

Made by `office` for a term. It adds nothing to what a `Store` knows but the look-up by uid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import Kind
from ringyard_operator.kube.store import Store


class Stores:
    """The objects of one kind that a label selects."""

    def __init__(
        self, api: Api, kind: Kind, namespaces: Sequence[str], *, labels: str, changed: Callable[[Json], None]
    ) -> None:
        self.kind = kind
        self._stores = {
            each: Store(api, kind, namespace=each, labels=labels, changed=changed) for each in namespaces or ("",)
        }

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for store in self._stores.values():
                group.create_task(store.run())

    async def synced(self) -> None:
        """Waits until each has been listed once."""
        for store in self._stores.values():
            await store.synced.wait()

    def get(self, namespace: str, name: str) -> Json | None:
        """The object of that name."""
        store = self._store(namespace)
        return None if store is None else store.get(namespace, name)

    def of_owner(self, uid: str) -> list[Json]:
        """The objects whose controller has that uid."""
        return [each for store in self._stores.values() for each in store.of_owner(uid)]

    def of_uid(self, uid: str) -> Json | None:
        """The object with that uid."""
        return next((each for each in self.all() if each["metadata"].get("uid") == uid), None)

    def all(self) -> Iterable[Json]:
        """All objects."""
        for store in self._stores.values():
            yield from store.all()

    def remember(self, obj: Json) -> None:
        """Takes in what a write of our own returned."""
        store = self._store(obj["metadata"].get("namespace", ""))
        if store is not None:
            store.remember(obj)

    def age(self) -> float:
        """Seconds since the stream that is longest silent gave a sign of life."""
        return max(store.age() for store in self._stores.values())

    def _store(self, namespace: str) -> Store | None:
        return self._stores.get("") or self._stores.get(namespace)
