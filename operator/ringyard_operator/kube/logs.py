"""What the workers of a job print, read from their pods: what stands there, or line by line as it comes.

`cli` asks it for `ringyard logs`. Pods come and go while it reads, and so may the API server: each pod's log is
followed to its end, and taken up again at the line where it broke off. It knows nothing of what the lines say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import aiohttp

from ringyard_operator.errors import ClusterUnknown, KubeError, KubeInvalid, KubeNotFound
from ringyard_operator.kube.api import REQUEST_SECONDS, Api, Json, lines_of
from ringyard_operator.kube.kinds import PODS
from ringyard_operator.kube.store import Store
from ringyard_operator.resources import names

_RETRY_SECONDS = 0.5
_LAST_WORDS_SECONDS = 10.0
_WAITING_LINES = 10_000

Print = Callable[[str], None]


class WorkerLogs:
    """The logs of one job's workers, or of one of them. Attributes: workers: whose logs were there to be read."""

    def __init__(self, api: Api, namespace: str, job: str, *, worker: int | None = None) -> None:
        self._api, self._namespace = api, namespace
        self._labels = f"{names.JOB}={job}" + ("" if worker is None else f",{names.INDEX}={worker}")
        self.workers: set[int] = set()

    async def so_far(self, show: Print) -> None:
        """Shows what stands there now, worker by worker, the earlier pods of a worker first."""
        pods = await self._api.list(PODS, self._namespace, labels=self._labels)
        for pod in sorted(pods, key=_order):
            with suppress(KubeNotFound, KubeInvalid):  # it has just gone, or has not started yet
                async for line in self._read(pod, {}):
                    show(f"[{_index(pod)}] {line.partition(' ')[2]}")
                self.workers.add(_index(pod))

    async def as_they_come(self, show: Print, over: Callable[[], bool]) -> None:
        """Shows lines as they come, of all pods that there are and will be, until `over` and the last words."""
        await self._api.list(PODS, self._namespace, labels=self._labels)  # what is forbidden is said, not waited for
        lines: asyncio.Queue[str] = asyncio.Queue(_WAITING_LINES)
        readers: dict[str, asyncio.Task[None]] = {}

        def changed(pod: Json) -> None:
            uid = pod["metadata"]["uid"]
            if uid not in readers and _has_started(pod):
                self.workers.add(_index(pod))
                readers[uid] = asyncio.create_task(self._follow(store, pod, lines))

        store = Store(self._api, PODS, namespace=self._namespace, labels=self._labels, changed=changed)
        watching = asyncio.create_task(store.run())
        try:
            await store.synced.wait()
            while not over():
                await _show_for(_RETRY_SECONDS, lines, show)
            ends = asyncio.get_running_loop().time() + _LAST_WORDS_SECONDS
            while asyncio.get_running_loop().time() < ends and not all(each.done() for each in readers.values()):
                await _show_for(_RETRY_SECONDS / 5, lines, show)
            while not lines.empty():
                show(lines.get_nowait())
        finally:
            tasks = [watching, *readers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, store: Store, pod: Json, lines: asyncio.Queue[str]) -> None:
        """One pod's log to its end, however often the connection breaks."""
        last = ""
        metadata = pod["metadata"]
        while True:
            shown = last
            with suppress(KubeError, ClusterUnknown):
                async for line in self._read(pod, {"follow": "true", **({"sinceTime": shown} if shown else {})}):
                    stamp, _, text = line.partition(" ")
                    if not shown or stamp > shown:  # `sinceTime` counts whole seconds
                        await lines.put(f"[{_index(pod)}] {text}")
                        last = stamp
            now = store.get(metadata["namespace"], metadata["name"])
            if now is None or now["metadata"]["uid"] != metadata["uid"] or _has_ended(now):
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, pod: Json, params: Mapping[str, str]) -> AsyncIterator[str]:
        """The lines of a pod's log, each with its time before it."""
        name = pod["metadata"]["name"]
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        async with self._api.open(
            "GET",
            PODS.path(self._namespace, name, "log"),
            f"reading the log of pod {name}",
            params={"container": names.WORKER, "timestamps": "true", **params},
            timeout=quiet,
        ) as answer:
            async for line in lines_of(answer.content):
                yield line.decode("utf-8", "replace").rstrip("\r")


async def _show_for(seconds: float, lines: asyncio.Queue[str], show: Print) -> None:
    """Shows what comes, until it is quiet for so long or that time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                show(await lines.get())


def _index(pod: Json) -> int:
    return int(pod["metadata"]["labels"].get(names.INDEX, 0))


def _order(pod: Json) -> tuple[int, int]:
    return _index(pod), int(pod["metadata"]["labels"].get(names.ATTEMPT, 0))


def _state(pod: Json) -> Mapping[str, object]:
    """The state of the worker's container."""
    for each in pod.get("status", {}).get("containerStatuses") or ():
        if each["name"] == names.WORKER:
            return each.get("state") or {}
    return {}


def _has_started(pod: Json) -> bool:
    return "running" in _state(pod) or "terminated" in _state(pod)


def _has_ended(pod: Json) -> bool:
    return "terminated" in _state(pod) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
