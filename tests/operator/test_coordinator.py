"""The coordinator over real gRPC, with members in processes of their own that are killed, frozen and fenced."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc
from ringyard_operator.actions import Order
from ringyard_operator.coordinator import Coordinator, CoordinatorServer, one_token

PEER = Path(__file__).with_name("member_peer.py")
TOKEN = "a-token"
LONG = 30.0  # seconds: only a test that fails waits so long


class Member:
    """One peer process and what it was told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def next(self, kind: str) -> dict[str, Any]:
        """The next directive of that kind; others are skipped."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LONG):
            while True:
                line = await self.process.stdout.readline()
                assert line, f"the member ended before it was told {kind}"
                told: dict[str, Any] = json.loads(line)
                if told["kind"] == kind:
                    return told

    async def view(self, number: int) -> dict[str, Any]:
        """The view of that number."""
        while (told := await self.next("view"))["number"] != number:
            continue
        return told

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def signal(self, what: signal.Signals) -> None:
        os.kill(self.process.pid, what)


class Yard:
    """One coordinator and its members."""

    def __init__(self, term: int = 1) -> None:
        self.coordinator = Coordinator(job="digits", uid="1", key=b"ring key", term=term)
        self.server = CoordinatorServer(one_token(TOKEN, "1"))
        self.server.open(self.coordinator)
        self.address = ""
        self.members: list[Member] = []

    async def member(self, worker: int, incarnation: str = "", *, attempt: int = 0, token: str = TOKEN) -> Member:
        arguments = [self.address, token, str(worker), incarnation or f"u{worker}", str(attempt)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PEER), *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self.members.append(Member(process))
        return self.members[-1]

    async def gang(self, size: int) -> list[Member]:
        self.coordinator.want(replicas=size, min_replicas=1, stall_seconds=60)
        members = [await self.member(worker) for worker in range(size)]
        for member in members:
            await member.view(1)
        return members

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG):
            while not holds():
                self.coordinator.changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.coordinator.changed.wait(), 0.05)

    async def report(self, **fields: Any) -> pb.AgentOrder:
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = rpc.CoordinatorStub(channel)
            report = pb.AgentReport(worker=0, incarnation="u0", protocols=[1], **fields)
            answer: pb.AgentOrder = await stub.Report(report, metadata=(("authorization", f"Bearer {TOKEN}"),))
            return answer


@asynccontextmanager
async def yard(term: int = 1) -> AsyncIterator[Yard]:
    made = Yard(term)
    made.address = await made.server.start()
    try:
        yield made
    finally:
        for member in made.members:
            if member.process.returncode is None:
                member.process.kill()
                await member.process.wait()
        await made.server.stop(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_stranger_is_refused_and_learns_nothing() -> None:
    async def body() -> None:
        async with yard() as made:
            stranger = await made.member(0, token="guess")
            told = await stranger.next("error")
            assert told["code"] == "UNAUTHENTICATED" and TOKEN not in told["details"]
            async with grpc.aio.insecure_channel(made.address) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await rpc.CoordinatorStub(channel).Report(pb.AgentReport())
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert made.coordinator.seen().group.members == ()

    run(body)


def test_a_member_that_speaks_no_protocol_of_ours_is_refused_in_one_sentence() -> None:
    async def body() -> None:
        async with yard() as made, grpc.aio.insecure_channel(made.address) as channel:
            report = pb.AgentReport(protocols=[9])
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await rpc.CoordinatorStub(channel).Report(report, metadata=(("authorization", f"Bearer {TOKEN}"),))
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "speaks protocol 1, the worker speaks 9" in (refused.value.details() or "")

    run(body)


def test_three_members_get_one_view_and_a_killed_one_is_out_at_once() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second, third = await made.gang(3)
            second.say("step 5 TRAINING 5")
            await made.until(lambda: any(m.step == 5 for m in made.coordinator.seen().group.members))
            third.signal(signal.SIGKILL)
            for rank, member in enumerate((first, second)):
                told = await member.view(2)
                assert told["workers"] == [0, 1] and told["urgent"] and told["rank"] == rank
                assert told["leader"] == 1 and told["key"] == "ring key"
            assert made.coordinator.seen().group.lost_members == 1

    run(body)


def test_a_frozen_member_is_out_without_any_word_of_its_own() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second = await made.gang(2)
            second.signal(signal.SIGSTOP)
            assert (await first.view(2))["workers"] == [0]
            second.signal(signal.SIGCONT)
            assert (await second.next("error"))["code"] == "UNAVAILABLE"

    run(body)


def test_a_frozen_process_whose_agent_reports_it_running_is_told_to_be_killed_after_the_stall() -> None:
    async def body() -> None:
        async with yard() as made:
            first, _ = await made.gang(2)
            made.coordinator.want(replicas=2, min_replicas=1, stall_seconds=1)
            first.signal(signal.SIGSTOP)
            await made.until(lambda: not any(m.index == 0 for m in made.coordinator.seen().group.members))
            assert (await made.report(running=True)).verb == pb.AgentOrder.CONTINUE
            await made.until(lambda: bool(made.coordinator.seen().group.hangs))
            hang = made.coordinator.seen().group.hangs[0]
            assert (hang.uid, hang.process_attempt, hang.agent_silent) == ("u0", 0, False)
            made.coordinator.order(Order(uid="u0", process_attempt=0, verb="KILL", reason=hang.reason))
            assert (await made.report(running=True)).verb == pb.AgentOrder.KILL
            await made.report(exit_code=137, exited_at=1.0)
            await made.until(lambda: bool(made.coordinator.seen().exits))
            seen = made.coordinator.seen()
            assert seen.exits[0].hang and seen.group.hangs == ()

    run(body)


def test_who_asks_to_leave_is_told_to_wait_while_the_others_get_a_planned_view() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second, third = await made.gang(3)
            first.say("leave")
            for member in (second, third):
                told = await member.view(2)
                assert told["workers"] == [1, 2] and not told["urgent"]
            await first.next("wait")
            first.signal(signal.SIGKILL)
            await first.process.wait()
            await made.until(lambda: len(made.coordinator.seen().group.members) == 2)
            assert made.coordinator.seen().group.epoch == 2

    run(body)


def test_the_last_step_of_a_gang_that_leaves_as_one_is_known_though_nobody_leads_any_more() -> None:
    async def body() -> None:
        async with yard() as made:
            members = await made.gang(2)
            for member in members:
                member.say("step 5 TRAINING 5")
                member.say("leave")
            for member in members:
                await member.next("wait")
            members[1].say("step 7 CHECKPOINTING 7")
            await made.until(lambda: made.coordinator.seen().group.step == 7)

    run(body)


def test_a_newer_incarnation_fences_the_older_one() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second = await made.gang(2)
            newer = await made.member(1, "u1-again", attempt=1)
            await second.next("fenced")
            assert (await newer.view(2))["workers"] == [0, 1] and (await first.view(2))["urgent"]

    run(body)


def test_a_report_of_a_lost_peer_that_lives_makes_all_reconnect_and_puts_nobody_out() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second = await made.gang(2)
            first.say("lost 1")
            for member in (first, second):
                told = await member.view(2)
                assert told["workers"] == [0, 1] and told["urgent"]

    run(body)


def test_the_result_of_the_leader_is_seen_and_all_are_told_the_end() -> None:
    async def body() -> None:
        async with yard() as made:
            first, second = await made.gang(2)
            first.say("result")
            await made.until(lambda: made.coordinator.seen().result is not None)
            assert made.coordinator.seen().result == {"step": 7}
            made.coordinator.finish("the result stands")
            for member in (first, second):
                await member.next("finish")
            assert (await made.report(exit_code=0, exited_at=1.0)).verb == pb.AgentOrder.DONE

    run(body)


def test_an_exit_waits_for_the_plans_order_and_then_restarts_with_the_next_process_attempt() -> None:
    async def body() -> None:
        async with yard() as made:
            assert (await made.report()).verb == pb.AgentOrder.RESTART
            await made.report(running=True)
            dead = {"exit_code": 137, "exited_at": 1.0, "last_lines": ["a", "b"]}
            assert (await made.report(**dead)).verb == pb.AgentOrder.CONTINUE
            (seen,) = made.coordinator.seen().exits
            assert seen.exit_code == 137 and seen.last_lines == ("a", "b")
            made.coordinator.order(Order(uid="u0", process_attempt=0, verb="RESTART"))
            answer = await made.report(**dead)
            assert (answer.verb, answer.process_attempt) == (pb.AgentOrder.RESTART, 1)
            await made.report(running=True, process_attempt=1)
            assert made.coordinator.seen().exits == ()

    run(body)


def test_a_coordinator_of_a_lower_term_sends_members_of_a_higher_one_away() -> None:
    async def body() -> None:
        async with yard(term=2) as made, grpc.aio.insecure_channel(made.address) as channel:
            hello = pb.Hello(protocols=[1], incarnation="u0", last_epoch=pb.Epoch(term=3, number=1))
            call = rpc.CoordinatorStub(channel).Attend(metadata=(("authorization", f"Bearer {TOKEN}"),))
            await call.write(pb.Attendance(hello=hello))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "term 2" in (refused.value.details() or "")

    run(body)


def test_a_script_is_seen_whole_from_its_start_until_the_last_of_it_has_ended() -> None:
    async def body() -> None:
        async with yard() as made:
            made.coordinator.want(replicas=1, min_replicas=1, stall_seconds=60, script=True)
            assert (await made.report()).verb == pb.AgentOrder.RESTART
            for fields in ({}, {"running": True}, {"exit_code": 0, "exited_at": 1.0}):
                await made.report(**fields)
                assert [m.index for m in made.coordinator.seen().group.members] == [0]
            assert made.coordinator.seen().exits[0].exit_code == 0

    run(body)
