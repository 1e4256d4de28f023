"""The two calls of coordinator.v1, over streams: who may speak, what was said, what has to be told.

Made by `server.Coordinator` only. It feeds `Group` with events and sends each member what it ought to know; a stream
that ends, for whatever reason, is a lost member. It decides nothing but who may speak.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_operator.coordinator import messages
from ringyard_operator.coordinator.group import Group, Outbox

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(rpc.CoordinatorServicer):
    """Serves one job's members and agents."""

    def __init__(self, group: Group, token: str) -> None:
        self._group = group
        self._expected = f"Bearer {token}".encode()
        self._streams = 0

    async def Attend(self, requests: AsyncIterator[pb.Attendance], context: Context) -> AsyncIterator[pb.Directive]:
        """One member, from its hello to the end of its stream."""
        await self._authorize(context)
        self._streams += 1
        key, outbox = self._streams, Outbox()
        reader = asyncio.create_task(self._read(key, requests, outbox))
        try:
            while (directive := await outbox.get()) is not None:
                yield directive
            if outbox.refusal is not None:
                await context.abort(*outbox.refusal)
        finally:
            reader.cancel()
            self._group.lost(key)

    async def Report(self, request: pb.AgentReport, context: Context) -> pb.AgentOrder:
        """One report of an agent, and its order."""
        await self._authorize(context)
        if request.protocols and not messages.PROTOCOLS.intersection(request.protocols):
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, _protocol_sentence(list(request.protocols)))
        return messages.agent_order(self._group.report(messages.report(request)))

    async def _authorize(self, context: Context) -> None:
        given = b""
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
        if not hmac.compare_digest(given, self._expected):
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "the token is not the one of this job")

    async def _read(self, key: int, requests: AsyncIterator[pb.Attendance], outbox: Outbox) -> None:
        greeted = False
        try:
            async for message in requests:
                kind = message.WhichOneof("message")
                if kind == "hello":
                    refusal = self._refuse(message.hello)
                    if refusal:
                        outbox.refuse(grpc.StatusCode.FAILED_PRECONDITION, refusal)
                        return
                    self._group.hello(key, messages.arrival(message.hello), outbox)
                    greeted = True
                elif not greeted:
                    outbox.refuse(grpc.StatusCode.INVALID_ARGUMENT, "the first message of a member has to be its hello")
                    return
                else:
                    self._take(key, kind, message, outbox)
        except grpc.RpcError:
            return  # the stream broke: Attend's end tells the group
        finally:
            outbox.close()

    def _take(self, key: int, kind: str | None, message: pb.Attendance, outbox: Outbox) -> None:
        if kind == "progress":
            self._group.progress(key, message.progress)
        elif kind == "peer_lost":
            lost = message.peer_lost
            self._group.peer_lost(key, messages.epoch_of(lost.epoch), lost.rank, lost.reason)
        elif kind == "leaving":
            self._group.leaving(key, message.leaving.reason)
        elif kind == "result":
            try:
                result = json.loads(message.result.json)
            except ValueError:
                result = None
            if isinstance(result, dict):
                self._group.take_result(key, result)
            else:
                outbox.refuse(grpc.StatusCode.INVALID_ARGUMENT, "the result is not a JSON object")

    def _refuse(self, hello: pb.Hello) -> str:
        if not messages.PROTOCOLS.intersection(hello.protocols):
            return _protocol_sentence(list(hello.protocols))
        if hello.last_epoch.term > self._group.term:
            seen = hello.last_epoch.term
            return f"this coordinator has term {self._group.term}, the member has seen {seen}: ask the newer one"
        return ""


def _protocol_sentence(spoken: list[int]) -> str:
    served = ", ".join(str(number) for number in sorted(messages.PROTOCOLS))
    told = ", ".join(str(number) for number in spoken) or "none"
    return f"this coordinator speaks protocol {served}, the worker speaks {told}: use images of versions that overlap"


async def _abort(context: Context, code: grpc.StatusCode, sentence: str) -> NoReturn:
    await context.abort(code, sentence)
    raise AssertionError("abort always raises")
