"""Whose turn it is: keys that are due, each turned by at most one task at a time, woken by events and by the clock.

`office` makes one. kopf's timers would do the same and put a finalizer on every object; this is one heap. A turn that
fails comes again after 1, 2, 4 … 60 s, whatever happens meanwhile. It does not know what a key stands for.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from ringyard_operator.errors import KubeUnreachable, RingyardError

_AT_ONCE = 16
_APART_SECONDS = 0.1  # members tell their progress often: not each word is worth a look
_LEAST_PAUSE = 0.25  # by the clock: a time that has passed is no reason to run hot
_LONGEST_BACKOFF = 60.0

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """One object of ours: the kind's name, the namespace, the name."""

    kind: str
    namespace: str
    name: str


Turn = Callable[[Key], Awaitable[float | None]]
"""One look at an object, and what follows. Answers when to look again at the latest (Unix seconds)."""
Told = Callable[[Key, float, BaseException | None], None]
"""Told of each turn: how many seconds it took, and how it failed."""


@dataclass
class _Trouble:
    failures: int
    until: float  # monotonic
    sentence: str


class Turns:
    """The queue of one term."""

    def __init__(self, turn: Turn, told: Told = lambda *_: None) -> None:
        self._turn, self._told = turn, told
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._ended_at: dict[Key, float] = {}
        self._trouble: dict[Key, _Trouble] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._open = True

    def poke(self, key: Key, delay: float = 0.0) -> None:
        """The key is due in `delay` seconds at the latest."""
        at = max(time.monotonic() + delay, self._ended_at.get(key, 0.0) + _APART_SECONDS)
        trouble = self._trouble.get(key)
        if trouble is not None:
            at = max(at, trouble.until)
        if not self._open or self._due.get(key, float("inf")) <= at:
            return
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))
        self._news.set()

    async def run(self) -> None:
        """For ever: turns what is due."""
        while True:
            self._news.clear()
            self._start_due()
            wait = self._heap[0][0] - time.monotonic() if self._heap and len(self._tasks) < _AT_ONCE else None
            try:
                async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def close(self, patience: float) -> None:
        """Starts no turn any more, and waits for those in hand."""
        self._open = False
        self._heap.clear()
        self._due.clear()
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=patience)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _start_due(self) -> None:
        now = time.monotonic()
        while self._heap and len(self._tasks) < _AT_ONCE:
            at, key = self._heap[0]
            if self._due.get(key) != at or key in self._tasks:
                heapq.heappop(self._heap)  # it was brought forward, or its turn's end takes care of it
                continue
            if at > now:
                return
            heapq.heappop(self._heap)
            del self._due[key]
            self._tasks[key] = asyncio.create_task(
                self._one(key), name=f"turn of {key.kind} {key.namespace}/{key.name}"
            )

    async def _one(self, key: Key) -> None:
        began = time.monotonic()
        again: float | None = None
        error: Exception | None = None
        try:
            again = await self._turn(key)
            self._trouble.pop(key, None)
        except RingyardError as refused:
            error = refused
        except Exception as bug:  # noqa: BLE001  # one object's surprise must not end the work on all others
            error = bug
        finally:
            del self._tasks[key]
            self._ended_at[key] = time.monotonic()
            self._news.set()
        self._told(key, time.monotonic() - began, error)
        pending = self._due.pop(key, None)  # poked during the turn
        if error is not None:
            self._fail(key, error)
            self.poke(key)
            return
        if pending is not None:
            self.poke(key, pending - time.monotonic())
        if again is not None:
            self.poke(key, max(_LEAST_PAUSE, again - time.time()))
        elif pending is None:
            del self._ended_at[key]

    def _fail(self, key: Key, error: Exception) -> None:
        before = self._trouble.get(key)
        failures = 1 if before is None else before.failures + 1
        pause = min(_LONGEST_BACKOFF, 2.0 ** min(failures - 1, 10))
        if isinstance(error, KubeUnreachable):
            pause = min(pause, 4.0)  # the cluster's trouble, not the object's: back as soon as it is
        sentence = f"{type(error).__name__}: {error}"
        if before is None or before.sentence != sentence:
            bug = None if isinstance(error, RingyardError) else error
            log.error("%s %s/%s: %s; trying again", key.kind, key.namespace, key.name, sentence, exc_info=bug)
        self._trouble[key] = _Trouble(failures=failures, until=time.monotonic() + pause, sentence=sentence)
