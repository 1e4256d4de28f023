"""Talks to the model servers of endpoints in their pods: what they shall hold is pushed, what they hold is heard.

`endpointkeeper` asks in each turn. A server that was not told of this generation is told, the others are asked; what a
server said last is kept while its pod lives, because one answer that is late says nothing about what clients get.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ringyard_operator import serverpods
from ringyard_operator.control import Control, WantedVersion
from ringyard_operator.endpointstatus import ServerState
from ringyard_operator.kube.api import Json
from ringyard_operator.resources.serving import GRPC_PORT

_UNHEARD = 3


@dataclass
class _Link:
    control: Control
    starts: int
    state: ServerState | None = None
    misses: int = 0  # in a row


class Servers:
    """Those of one endpoint."""

    def __init__(self, endpoint: str, token: str) -> None:
        self._endpoint, self._token = endpoint, token
        self._links: dict[str, _Link] = {}

    async def ask(
        self, pods: Iterable[Json], generation: int, wanted: Sequence[WantedVersion] | None
    ) -> dict[str, ServerState | None]:
        """What each server says, by the uid of its pod. `wanted` None: nothing is pushed."""
        there = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid in [uid for uid in self._links if uid not in there]:
            await self._links.pop(uid).control.close()
        await asyncio.gather(*(self._one(uid, pod, generation, wanted) for uid, pod in there.items()))
        return {uid: self._links[uid].state if uid in self._links else None for uid in there}

    def unheard(self, uid: str) -> bool:
        """Whether the server in that pod has answered nothing since its start, though it was asked again and again."""
        link = self._links.get(uid)
        return link is not None and link.state is None and link.misses >= _UNHEARD

    async def close(self) -> None:
        """Drops all connections."""
        for link in self._links.values():
            await link.control.close()
        self._links.clear()

    async def _one(self, uid: str, pod: Json, generation: int, wanted: Sequence[WantedVersion] | None) -> None:
        address, starts = serverpods.address_of(pod, GRPC_PORT), serverpods.starts_of(pod)
        link = self._links.get(uid)
        if link is not None and (link.control.address != address or link.starts != starts):
            await self._links.pop(uid).control.close()
            link = None
        if address is None:
            return
        if link is None:
            link = self._links[uid] = _Link(control=Control(address, self._token), starts=starts)
        state = await link.control.get()
        link.misses = link.misses + 1 if state is None else 0
        if state is not None and state.generation < generation and wanted is not None:
            state = await link.control.apply(self._endpoint, generation, wanted) or state
        link.state = state or link.state
