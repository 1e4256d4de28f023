"""Runs models off the event loop, a bounded number of requests deep, and never one whose caller has stopped waiting.

The servicer submits; a few threads compute. A request whose deadline passes while it waits is refused without being
computed, one that is cancelled while it waits is dropped, one that runs ends for itself and hurts nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from ringyard_serving.errors import Refusal, Situation
from ringyard_serving.repository import Model

Arrays = Mapping[str, NDArray[Any]]
Timed = tuple[dict[str, NDArray[Any]], float]


class Compute:
    """The threads and the queue in front of them."""

    def __init__(self, *, threads: int, limit: int, pending: Callable[[int], None]) -> None:
        """`limit`: requests that may wait or run at once; `pending` hears their number at each change."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self._limit = limit
        self._count = 0
        self._pending = pending

    async def run(self, model: Model, inputs: Arrays, seconds_left: float | None) -> Timed:
        """The outputs and the seconds in the model. Raises `Refusal` when full or late, else what the model raised."""
        if self._count >= self._limit:
            raise Refusal(Situation.BUSY, f"{self._count} requests wait already, which is the limit: try again later")
        deadline = None if seconds_left is None else time.monotonic() + seconds_left
        self._count += 1
        self._pending(self._count)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _timed, model, inputs, deadline)
        finally:
            self._count -= 1
            self._pending(self._count)

    def close(self) -> None:
        """No new work; what runs ends for itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _timed(model: Model, inputs: Arrays, deadline: float | None) -> Timed:
    started = time.monotonic()
    if deadline is not None and started >= deadline:
        raise Refusal(Situation.EXPIRED, "the deadline passed while the request waited; it was not computed")
    outputs = model(inputs)
    return outputs, time.monotonic() - started
