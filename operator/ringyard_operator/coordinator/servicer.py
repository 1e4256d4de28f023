"""The two calls of coordinator.v1, over streams: who may speak, what was said, what has to be told.

Made by `server.CoordinatorServer` only. It feeds `Group` with events and sends each member what it ought to know; a
stream that ends, for whatever reason, is a lost member. Who may speak is the authenticator's word; it decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_operator.coordinator import messages
from ringyard_operator.coordinator.callers import Authenticate, Caller, CannotTell, disagreement
from ringyard_operator.coordinator.group import Group, Outbox

Context = grpc.aio.ServicerContext[Any, Any]
_BEARER = "Bearer "


class Servicer(rpc.CoordinatorServicer):
    """Serves the members and agents of all jobs that are open, by the job's uid in `groups`."""

    def __init__(self, authenticate: Authenticate) -> None:
        self.groups: dict[str, Group] = {}
        self._authenticate = authenticate
        self._streams = 0

    async def Attend(self, requests: AsyncIterator[pb.Attendance], context: Context) -> AsyncIterator[pb.Directive]:
        """One member, from its hello to the end of its stream."""
        caller = await self._caller(context)
        group = await self._group(caller, context)
        self._streams += 1
        key, outbox = self._streams, Outbox()
        reader = asyncio.create_task(_Reader(group, caller, key, outbox).read(requests))
        try:
            while (directive := await outbox.get()) is not None:
                yield directive
            if outbox.refusal is not None:
                await context.abort(*outbox.refusal)
        finally:
            reader.cancel()
            group.lost(key)

    async def Report(self, request: pb.AgentReport, context: Context) -> pb.AgentOrder:
        """One report of an agent, and its order."""
        caller = await self._caller(context)
        if request.protocols and not messages.PROTOCOLS.intersection(request.protocols):
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, _protocol_sentence(list(request.protocols)))
        who = disagreement(caller, incarnation=request.incarnation, index=request.worker, attempt=request.attempt)
        if who:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, who)
        group = await self._group(caller, context)
        return messages.agent_order(group.report(messages.report(request)))

    async def _caller(self, context: Context) -> Caller:
        given = ""
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                given = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if not given.startswith(_BEARER):
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "a worker has to bring its token")
        try:
            found = await self._authenticate(given.removeprefix(_BEARER))
        except CannotTell as trouble:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(trouble))
        if isinstance(found, str):
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, found)
        return found

    async def _group(self, caller: Caller, context: Context) -> Group:
        group = self.groups.get(caller.job_uid)
        if group is None:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "the job of this worker is not open here (yet)")
        return group


class _Reader:
    """What one member says on one stream."""

    def __init__(self, group: Group, caller: Caller, key: int, outbox: Outbox) -> None:
        self._group, self._caller, self._key, self._outbox = group, caller, key, outbox

    async def read(self, requests: AsyncIterator[pb.Attendance]) -> None:
        """Until the stream ends or is refused."""
        greeted = False
        try:
            async for message in requests:
                kind = message.WhichOneof("message")
                if kind == "hello":
                    refusal = self._refuse(message.hello)
                    if refusal is not None:
                        self._outbox.refuse(*refusal)
                        return
                    self._group.hello(self._key, messages.arrival(message.hello), self._outbox)
                    greeted = True
                elif not greeted:
                    sentence = "the first message of a member has to be its hello"
                    self._outbox.refuse(grpc.StatusCode.INVALID_ARGUMENT, sentence)
                    return
                else:
                    self._take(kind, message)
        except grpc.RpcError:
            return  # the stream broke: Attend's end tells the group
        finally:
            self._outbox.close()

    def _take(self, kind: str | None, message: pb.Attendance) -> None:
        if kind == "progress":
            self._group.progress(self._key, message.progress)
        elif kind == "peer_lost":
            lost = message.peer_lost
            self._group.peer_lost(self._key, messages.epoch_of(lost.epoch), lost.rank, lost.reason)
        elif kind == "leaving":
            self._group.leaving(self._key, message.leaving.reason)
        elif kind == "result":
            result = messages.json_object(message.result.json)
            if result is not None:
                self._group.take_result(self._key, result)
            else:
                self._outbox.refuse(grpc.StatusCode.INVALID_ARGUMENT, "the result is not a JSON object")

    def _refuse(self, hello: pb.Hello) -> tuple[grpc.StatusCode, str] | None:
        who = disagreement(self._caller, incarnation=hello.incarnation, index=hello.worker, attempt=hello.attempt)
        if who:
            return grpc.StatusCode.PERMISSION_DENIED, who
        if not messages.PROTOCOLS.intersection(hello.protocols):
            return grpc.StatusCode.FAILED_PRECONDITION, _protocol_sentence(list(hello.protocols))
        if hello.last_epoch.term > self._group.term:
            seen = hello.last_epoch.term
            sentence = f"this coordinator has term {self._group.term}, the member has seen {seen}: ask the newer one"
            return grpc.StatusCode.FAILED_PRECONDITION, sentence
        return None


def _protocol_sentence(spoken: list[int]) -> str:
    served = ", ".join(str(number) for number in sorted(messages.PROTOCOLS))
    told = ", ".join(str(number) for number in spoken) or "none"
    return f"this coordinator speaks protocol {served}, the worker speaks {told}: use images of versions that overlap"


async def _abort(context: Context, code: grpc.StatusCode, sentence: str) -> NoReturn:
    await context.abort(code, sentence)
    raise AssertionError("abort always raises")
