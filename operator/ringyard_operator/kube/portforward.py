"""A port of a pod, on this machine: what `kubectl port-forward` does, for clients that run outside the cluster.

`cli` asks it for `ringyard predict`. Each local connection is a websocket of its own to the API server (subprotocol
v4.channel.k8s.io: the first byte of a message is the channel, 0 for data and 1 for an error; the first message on
each holds the port). Source: kubernetes/kubelet pkg/cri/streaming/portforward/websocket.go. It knows no pod's contents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from ringyard_operator.errors import KubeError, KubeUnreachable
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import PODS

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_BLOCK_BYTES = 1 << 16


@asynccontextmanager
async def forward(api: Api, namespace: str, pod: str, port: int) -> AsyncIterator[int]:
    """A port of 127.0.0.1 that leads to `port` of the pod, as long as the block lasts.

    Raises `KubeError` at once where the pod cannot be reached that way; a connection that breaks later is just closed.
    """
    await (await _opened(api, namespace, pod, port)).close()
    talks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(_carry(api, (namespace, pod, port), reader, writer))
        talks.add(talk)
        talk.add_done_callback(talks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _opened(api: Api, namespace: str, pod: str, port: int) -> aiohttp.ClientWebSocketResponse:
    """A websocket that leads to the pod; whether anything listens there shows only when it is used."""
    what = f"forwarding to port {port} of pod {pod}"
    path = PODS.path(namespace, pod, "portforward")
    socket = await api.websocket(f"{path}?ports={port}", _PROTOCOL, what)
    for _ in (_DATA, _ERROR):  # the port on each channel
        message = await socket.receive(timeout=10)
        if message.type is not aiohttp.WSMsgType.BINARY:
            await socket.close()
            raise KubeUnreachable(f"{what}: the API server closed the connection")
    return socket


async def _carry(
    api: Api, to: tuple[str, str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One local connection, both ways, until either side ends it."""
    with suppress(KubeError, OSError, aiohttp.ClientError):
        socket = await _opened(api, *to)
        ways = [asyncio.create_task(_out(reader, socket)), asyncio.create_task(_back(socket, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await socket.close()
    writer.close()


async def _out(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_BLOCK_BYTES):
        await socket.send_bytes(bytes([_DATA]) + data)


async def _back(socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or message.data[0] != _DATA:
            return  # an error: the pod refused the connection or dropped it
        writer.write(message.data[1:])
        await writer.drain()
