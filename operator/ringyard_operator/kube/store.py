"""A picture of all objects of one kind, kept true by a list and a watch, for ever.

The keepers read it instead of asking the API server. It is never older than what we wrote ourselves (`remember`), it
hears deletions that happened while the watch was away, and it says how old it is. It knows no object's meaning.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing

from ringyard_operator.errors import ClusterUnknown, KubeError, KubeExpired
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import Kind

_BACKOFF_SECONDS = (0.2, 10.0)
_GRAVES = 2000  # uids of objects that went, so that a late answer to our own write revives none of them

log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name


class Store:
    """The objects of one kind, of one namespace or all. `run` keeps it true; everything else answers at once."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        changed: Callable[[Json], None] = lambda _: None,
    ) -> None:
        self._api, self._kind, self._namespace = api, kind, namespace
        self._labels, self._fields = labels, fields
        self._changed = changed
        self._objects: dict[Key, Json] = {}
        self._owned: dict[str, set[Key]] = {}
        self._graves: OrderedDict[str, None] = OrderedDict()
        self._heard_at = time.monotonic()
        self.synced = asyncio.Event()
        self.trouble = ""  # why it is not kept true right now, in a sentence

    async def run(self) -> None:
        """For ever: list, watch, and list again when the watch is lost."""
        least, most = _BACKOFF_SECONDS
        wait = least
        while True:
            try:
                version = await self._list()
                wait, self.trouble = least, ""
                while True:
                    version = await self._follow(version)
                    await asyncio.sleep(least)  # a proxy that ends every watch at once must not make a hot loop
            except KubeExpired:
                await asyncio.sleep(least)  # then the list, which is the remedy
            except (KubeError, ClusterUnknown) as error:
                self.trouble = str(error)
                log.warning("%s; trying again", error)
                pause = error.retry_after if isinstance(error, KubeError) and error.retry_after else wait
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                wait = min(wait * 2, most)

    def get(self, namespace: str, name: str) -> Json | None:
        """The object of that name."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[Json]:
        """All objects; the collection is the caller's."""
        return list(self._objects.values())

    def of_owner(self, uid: str) -> list[Json]:
        """The objects whose controller has that uid."""
        return [self._objects[key] for key in sorted(self._owned.get(uid, ()))]

    def remember(self, obj: Json) -> None:
        """Takes in what a write of our own returned, if the watch has not brought something newer already."""
        if obj["metadata"].get("uid") not in self._graves and not self._is_older(obj):
            self._put(obj)

    def age(self) -> float:
        """Seconds since the API server last gave a sign of life here."""
        return time.monotonic() - self._heard_at

    async def _list(self) -> str:
        found, version = await self._api.listing(self._kind, self._namespace, labels=self._labels, fields=self._fields)
        self._heard_at = time.monotonic()
        listed = {_key(each) for each in found}
        for each in found:
            known = self._objects.get(_key(each))
            if not self._is_older(each) and (known is None or _version(known) != _version(each)):
                self._put(each)
                self._changed(each)
        for key in [key for key in self._objects if key not in listed]:
            if _newer(self._objects[key], version):
                continue  # made by us since that list: the watch will bring it
            self._changed(self._drop(key))
        self.synced.set()
        return version

    async def _follow(self, version: str) -> str:
        """Takes in what the watch brings until the API server ends it; returns the version to go on from."""
        stream = self._api.watch(
            self._kind, self._namespace, labels=self._labels, fields=self._fields, resource_version=version
        )
        async with aclosing(stream):
            async for event, obj in stream:
                self._heard_at = time.monotonic()
                version = _version(obj) or version
                if event == "BOOKMARK" or self._is_older(obj):
                    continue
                if event == "DELETED":
                    self._bury(obj)
                else:
                    self._put(obj)
                self._changed(obj)
        return version

    def _bury(self, obj: Json) -> None:
        if _key(obj) in self._objects:
            self._drop(_key(obj))
        self._graves[obj["metadata"]["uid"]] = None
        while len(self._graves) > _GRAVES:
            self._graves.popitem(last=False)

    def _put(self, obj: Json) -> None:
        obj["metadata"].pop("managedFields", None)  # half of an object's size, and of use to nobody here
        key = _key(obj)
        if key in self._objects:
            self._drop(key)
        self._objects[key] = obj
        if owner := _owner(obj):
            self._owned.setdefault(owner, set()).add(key)

    def _drop(self, key: Key) -> Json:
        gone = self._objects.pop(key)
        owner = _owner(gone)
        if owner in self._owned:
            self._owned[owner].discard(key)
            if not self._owned[owner]:
                del self._owned[owner]
        return gone

    def _is_older(self, obj: Json) -> bool:
        """Whether we hold something newer under that name."""
        known = self._objects.get(_key(obj))
        return known is not None and _newer(known, _version(obj))


def _key(obj: Json) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _version(obj: Json) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))


def _newer(obj: Json, version: str) -> bool:
    """Whether `obj` is newer than `version`: resource versions of one kind are numbers that rise (KEP-5504)."""
    mine = _version(obj)
    return mine.isdecimal() and version.isdecimal() and int(mine) > int(version)


def _owner(obj: Json) -> str:
    """The uid of its controller."""
    for each in obj["metadata"].get("ownerReferences") or ():
        if each.get("controller"):
            return str(each["uid"])
    return ""
