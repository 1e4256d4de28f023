"""A door between a client of ours and the API server that a test can shut, so that nobody else notices.

Used by the tests of the client and of the Lease. Bytes pass as they are: TLS is between the client and the API server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from kubectl import Kubectl
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api


class Gate:
    """`shut` breaks what is connected and takes no more; `hold` lets connections live and nothing through."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self._server
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def hold(self) -> None:
        self._flows.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.ensure_future(self._pass(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        ways = [asyncio.create_task(self._copy(reader, back)), asyncio.create_task(self._copy(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


def access_of(kubectl: Kubectl) -> Access:
    """The cluster under test."""
    return Access.from_kubeconfig(kubectl.kubeconfig.split(os.pathsep)[0])


@asynccontextmanager
async def through_a_gate(access: Access) -> AsyncIterator[tuple[Api, Gate]]:
    """A client whose way to the API server leads through a gate."""
    parts = urlsplit(access.server)
    host = parts.hostname or ""
    gate = Gate(host, parts.port or 443)
    await gate.open()
    try:
        detour = dataclasses.replace(access, server=f"https://127.0.0.1:{gate.port}", server_name=host)
        async with Api(detour) as api:
            yield api, gate
    finally:
        await gate.shut()


async def until(met: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Waits until `met()` is true; a test that waits so long has failed."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.05)
