"""One coordinator server for many jobs: who may speak for whom, what a lapsed Lease forbids, and who leads next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc
from ringyard_operator.coordinator import Caller, CannotTell, Coordinator, CoordinatorServer
from ringyard_operator.scripts import PORTS, gang_port

LONG = 20.0  # seconds: only a test that fails waits so long


async def by_name(token: str) -> Caller | str:
    """A token says JOB/INCARNATION/INDEX/ATTEMPT."""
    if token == "later":
        raise CannotTell("the API server does not answer")
    job, _, rest = token.partition("/")
    if not rest:
        return "this is nobody's token"
    incarnation, index, attempt = rest.split("/")
    return Caller(job_uid=job, incarnation=incarnation, place=(int(index), int(attempt)))


class Hall:
    """One server; the jobs in it are opened by the test."""

    def __init__(self) -> None:
        self.server = CoordinatorServer(by_name)
        self.address = ""
        self.led = True
        self.streams: list[Stream] = []

    def open(self, uid: str, *, term: int = 1, **wanted: Any) -> Coordinator:
        made = Coordinator(
            job=uid, uid=uid, key=uid.encode(), term=term, held=lambda: self.led, pick_port=lambda gang: 5000 + gang
        )
        made.want(**{"replicas": 1, "min_replicas": 1, "stall_seconds": 60, **wanted})
        self.server.open(made)
        return made

    async def report(self, token: str, **fields: Any) -> pb.AgentOrder:
        async with grpc.aio.insecure_channel(self.address) as channel:
            told = pb.AgentReport(protocols=[1], **fields)
            answer: pb.AgentOrder = await rpc.CoordinatorStub(channel).Report(told, metadata=bearer(token))
            return answer

    async def refusal(self, token: str, **fields: Any) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.report(token, **fields)
        return refused.value.code().name, refused.value.details() or ""

    def attend(self, token: str, **hello: Any) -> Stream:
        self.streams.append(Stream(self.address, token, pb.Hello(protocols=[1], address="127.0.0.1:1", **hello)))
        return self.streams[-1]


class Stream:
    """One member's stream."""

    def __init__(self, address: str, token: str, hello: pb.Hello) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.call = rpc.CoordinatorStub(self.channel).Attend(metadata=bearer(token))
        self.hello: pb.Hello | None = hello

    async def next(self) -> pb.Directive:
        async with asyncio.timeout(LONG):
            if self.hello is not None:
                await self.call.write(pb.Attendance(hello=self.hello))
                self.hello = None
            told: pb.Directive = await self.call.read()
            return told

    async def end(self) -> tuple[str, str]:
        try:
            while await self.next() is not grpc.aio.EOF:
                continue
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def hall() -> AsyncIterator[Hall]:
    made = Hall()
    made.address = await made.server.start()
    try:
        yield made
    finally:
        for stream in made.streams:
            await stream.channel.close()
        await made.server.stop(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_token_speaks_for_its_own_worker_of_its_own_job_and_for_nobody_else() -> None:
    async def body() -> None:
        async with hall() as made:
            one, two = made.open("one"), made.open("two")
            assert (await made.report("one/a/0/0", incarnation="a", running=True)).verb == pb.AgentOrder.CONTINUE
            assert set(one.seen().agents) == {"a"} and two.seen().agents == {}
            code, sentence = await made.refusal("one/a/0/0", incarnation="b")
            assert code == "PERMISSION_DENIED" and "may not speak for b" in sentence
            code, sentence = await made.refusal("one/a/0/0", incarnation="a", worker=1)
            assert code == "PERMISSION_DENIED" and "is of index 0, attempt 0" in sentence
            assert await made.refusal("nobody") == ("UNAUTHENTICATED", "this is nobody's token")
            code, _ = await made.attend("two/x/0/0", incarnation="a").end()
            assert code == "PERMISSION_DENIED"
            view = (await made.attend("two/x/0/0", incarnation="x").next()).view
            assert [member.incarnation for member in view.members] == ["x"] and view.key == b"two"

    run(body)


def test_who_cannot_be_told_apart_now_and_whose_job_is_not_open_yet_asks_again() -> None:
    async def body() -> None:
        async with hall() as made:
            assert (await made.refusal("later"))[0] == "UNAVAILABLE"
            assert (await made.refusal("one/a/0/0", incarnation="a"))[0] == "UNAVAILABLE"
            assert (await made.attend("one/a/0/0", incarnation="a").end())[0] == "UNAVAILABLE"
            made.open("one")
            assert (await made.report("one/a/0/0", incarnation="a")).verb == pb.AgentOrder.RESTART

    run(body)


def test_a_worker_back_from_a_dead_node_is_sent_away_on_both_calls_before_its_successor_has_come() -> None:
    async def body() -> None:
        async with hall() as made:
            made.open("one", incarnations={0: ("newer", 1)})
            order = await made.report("one/old/0/0", incarnation="old", running=True)
            assert order.verb == pb.AgentOrder.LEAVE and "newer worker" in order.reason
            assert (await made.attend("one/old/0/0", incarnation="old").next()).WhichOneof("directive") == "fenced"

    run(body)


def test_while_the_lease_is_not_held_nobody_gets_a_view_or_an_order() -> None:
    async def body() -> None:
        async with hall() as made:
            one = made.open("one")
            made.led = False
            assert (await made.report("one/a/0/0", incarnation="a")).verb == pb.AgentOrder.CONTINUE
            member = made.attend("one/a/0/0", incarnation="a")
            waiting = asyncio.create_task(member.next())
            await asyncio.sleep(0.5)
            assert one.seen().group.epoch == 0 and not waiting.done()
            made.led = True
            assert (await waiting).view.epoch.number == 1
            assert (await made.report("one/a/0/0", incarnation="a")).verb == pb.AgentOrder.RESTART

    run(body)


def test_a_lapsed_lease_ends_all_streams_and_the_next_term_takes_the_members_over_as_they_are() -> None:
    async def body() -> None:
        async with hall() as made:
            first = made.open("one", term=3)
            assert (await (member := made.attend("one/a/0/0", incarnation="a")).next()).view.epoch.term == 3
            made.server.drop()
            assert (await member.end())[0] == "UNAVAILABLE"
            assert (await made.refusal("one/a/0/0", incarnation="a"))[0] == "UNAVAILABLE"
            assert first.seen().group.view_changes == 0, "what was closed decides nothing more"
            made.open("one", term=4)
            back = made.attend(
                "one/a/0/0", incarnation="a", has_state=True, step=7, last_epoch=pb.Epoch(term=3, number=1), last_size=1
            )
            view = (await back.next()).view
            assert (view.epoch.term, view.urgent) == (4, False)

    run(body)


def test_a_script_has_a_result_once_each_of_its_gang_has_ended_well_and_it_is_that_of_who_left_a_model() -> None:
    async def body() -> None:
        async with hall() as made:
            one = made.open("one", replicas=2, min_replicas=2, script=True)
            for index in (0, 1, 0):
                told = {"worker": index, "incarnation": f"u{index}", "host": f"10.0.0.{index}"}
                order = await made.report(f"one/u{index}/{index}/0", **told)
            assert (order.environment["MASTER_ADDR"], order.environment["MASTER_PORT"]) == ("10.0.0.0", "5001")
            left = {
                "metrics": {"accuracy": 0.9},
                "gate": None,
                "model": {"uri": "pvc://m/x/model", "digest": "sha256:0"},
            }
            for index, result in ((0, {"metrics": {}, "gate": None, "model": None}), (1, left)):
                assert one.seen().result is None
                told = {"worker": index, "incarnation": f"u{index}", "exited_at": 1.0}
                await made.report(f"one/u{index}/{index}/0", **told, result=json.dumps(result).encode())
            assert one.seen().result == left

    run(body)


def test_gangs_of_one_job_and_of_the_next_term_meet_at_ports_of_their_own() -> None:
    ports = [gang_port(term, number) for term in (1, 2) for number in range(1, 20)]
    assert len(set(ports)) == len(ports) and all(port in PORTS for port in ports)
