"""Our own objects as they are now: what kopf's watch brought, what our writes returned, and what a list told us.

Filled by `handlers` (the watch) and by whoever writes; read by the keepers. The newest resourceVersion wins. It also
knows when the watch owes us something: a version that we know of and that never came means that the watch is silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ringyard_operator.errors import KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, TRAINING_JOBS, Kind
from ringyard_operator.kube.turns import Key

KINDS = {kind.kind: kind for kind in (TRAINING_JOBS, MODEL_ENDPOINTS)}


class Known:
    """TrainingJobs and ModelEndpoints by key. `changed` is told of each key that came, changed or went."""

    def __init__(self) -> None:
        self._objects: dict[Key, Json] = {}
        self._owed: dict[Key, tuple[int, float]] = {}  # version that the watch should bring, since when (monotonic)
        self.changed: Callable[[Key], None] = lambda _: None

    def get(self, key: Key) -> Json | None:
        """The object as we know it."""
        return self._objects.get(key)

    def all_keys(self) -> Iterable[Key]:
        """All keys; the collection is the caller's."""
        return list(self._objects)

    def heard(self, kind: str, obj: Json, *, gone: bool) -> None:
        """What the watch brought."""
        key = key_of(kind, obj)
        owed = self._owed.get(key)
        if owed is not None and (gone or version_of(obj) >= owed[0]):
            del self._owed[key]
        if gone:
            self._drop(key, obj)
        else:
            self._take(key, obj)

    def remember(self, kind: str, obj: Json) -> None:
        """What a write or a read of our own returned: the watch has to bring it as well, sooner or later."""
        key = key_of(kind, obj)
        if self._take(key, obj):
            self._owe(key, version_of(obj))

    def forget(self, key: Key, uid: str) -> None:
        """A request has told us that the object is gone."""
        known = self._objects.get(key)
        if known is not None and known["metadata"].get("uid") == uid:
            self._owe(key, version_of(known) + 1)
            self._drop(key, known)

    def listed(self, kind: Kind, found: Iterable[Json], version: str, namespace: str) -> int:
        """Compares with a list of our own; what the watch has not brought is taken from it. Says how many those are.

        `namespace`: the one that was listed, empty: all.
        """
        at = int(version) if version.isdecimal() else 0
        there = {key_of(kind.kind, obj): obj for obj in found}
        missed = 0
        for key, obj in there.items():
            if self._take(key, obj):
                self._owe(key, version_of(obj))
                missed += 1
        for key, obj in list(self._objects.items()):
            if key.kind == kind.kind and key not in there and namespace in ("", key.namespace) and version_of(obj) < at:
                self._owe(key, at)
                self._drop(key, obj)
                missed += 1
        return missed

    def silence(self) -> float:
        """Seconds for which the watch has owed us something, at the most."""
        since = min((since for _, since in self._owed.values()), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def _take(self, key: Key, obj: Json) -> bool:
        known = self._objects.get(key)
        if known is not None and version_of(known) >= version_of(obj):
            return False
        obj["metadata"].pop("managedFields", None)  # half of the object, and of use to nobody here
        self._objects[key] = obj
        self.changed(key)
        return True

    def _drop(self, key: Key, obj: Json) -> None:
        known = self._objects.get(key)
        if known is not None and version_of(known) <= version_of(obj):
            del self._objects[key]
            self.changed(key)

    def _owe(self, key: Key, version: int) -> None:
        before = self._owed.get(key)
        self._owed[key] = (version, time.monotonic() if before is None else before[1])


async def refresh(api: Api, known: Known, key: Key, uid: str) -> None:
    """Reads the object anew: somebody wrote it since, and the watch has not said so yet."""
    try:
        found = await api.get(KINDS[key.kind], key.name, key.namespace)
        known.remember(key.kind, found)
    except KubeNotFound:
        known.forget(key, uid)


def key_of(kind: str, obj: Json) -> Key:
    """The key of an object."""
    return Key(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def version_of(obj: Json) -> int:
    """Its resourceVersion, a number that rises within a kind (KEP-5504)."""
    text = str(obj["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0
