"""The contract of a transport, for gRPC and for memory: entering, order, ends, and who is accused of what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from ringyard_trainer.collective.frames import Header, encode_header
from ringyard_trainer.collective.grpc_transport import GrpcTransport
from ringyard_trainer.collective.memory import MemoryNetwork
from ringyard_trainer.collective.outcomes import ViewLost
from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import Epoch, Member, View

KEY = b"the key of this job"


class Pair:
    """Two members that can enter views of both, each in a thread."""

    def __init__(self, kind: str) -> None:
        network = MemoryNetwork()
        self.ends: list[Any] = [network.member() if kind == "memory" else GrpcTransport() for _ in range(2)]
        self.told: list[SimpleQueue[int | None]] = [SimpleQueue(), SimpleQueue()]
        self.links: list[Any] = [None, None]
        self.lost: list[str] = ["", ""]

    def view(self, rank: int, number: int, key: bytes = KEY) -> View:
        members = tuple(Member(rank=r, address=end.address) for r, end in enumerate(self.ends))
        return View(epoch=Epoch(1, number), rank=rank, leader=0, members=members, key=key)

    def enter(self, rank: int, number: int, key: bytes = KEY) -> tuple[Session, threading.Thread]:
        session = Session(self.view(rank, number, key), lambda accused, _: self.told[rank].put(accused))

        def open_() -> None:
            try:
                self.links[rank] = self.ends[rank].open(session.view, session)
            except ViewLost as lost:
                self.lost[rank] = str(lost)

        thread = threading.Thread(target=open_, daemon=True)
        thread.start()
        return session, thread

    def both_enter(self, number: int) -> list[Session]:
        entered = [self.enter(rank, number) for rank in range(2)]
        for _, thread in entered:
            thread.join(10)
            assert not thread.is_alive()
        assert self.lost == ["", ""]
        return [session for session, _ in entered]


@pytest.fixture(params=["memory", "grpc"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(request.param)
    yield made
    for end in made.ends:
        end.close()


def frame(number: int, sender: int, op: int, data: bytes = b"12345678") -> bytes:
    return encode_header(Header(1, number, sender, op), len(data)) + data


def test_nobody_gets_a_view_before_all_have_entered_it(pair: Pair) -> None:
    _, early = pair.enter(0, 1)
    early.join(0.3)
    assert early.is_alive()
    _, late = pair.enter(1, 1)
    early.join(10)
    late.join(10)
    assert all(links is not None for links in pair.links)


def test_who_waits_to_connect_is_woken_when_the_view_is_overtaken(pair: Pair) -> None:
    session, waiting = pair.enter(0, 1)
    waiting.join(0.2)
    session.fail(None, "a newer view is known")
    waiting.join(10)
    assert pair.lost[0] == "a newer view is known"
    pair.lost[0] = ""
    pair.both_enter(2)


def test_a_member_in_a_newer_view_refuses_the_older_and_nobody_is_accused(pair: Pair) -> None:
    pair.enter(1, 2)
    _, late = pair.enter(0, 1)
    late.join(10)
    assert pair.lost[0]
    assert pair.told[0].get(timeout=10) is None
    _, now = pair.enter(0, 2)
    now.join(10)
    assert pair.links[0] is not None
    assert pair.told[1].empty()


def test_all_that_was_sent_before_a_good_end_arrives_and_nobody_is_accused(pair: Pair) -> None:
    sessions = pair.both_enter(1)
    for op in range(50):
        pair.links[0].send(1, frame(1, 0, op, bytes([op]) * 100_000))
    sessions[0].close()
    for op in range(50):
        assert bytes(sessions[1].take(0, op, 0, 0, 0, 100_000)) == bytes([op]) * 100_000
    with pytest.raises(ViewLost, match="rank 0 left the view"):
        sessions[1].take(0, 50, 0, 0, 0, 8)
    assert pair.told[1].get(timeout=10) is None
    assert pair.told[0].empty()


def test_a_member_that_drops_the_view_wakes_its_peer_without_being_accused(pair: Pair) -> None:
    sessions = pair.both_enter(1)
    threading.Timer(0.1, sessions[0].fail, (None, "the coordinator says so")).start()
    with pytest.raises(ViewLost):
        sessions[1].take(0, 0, 0, 0, 0, 8)
    assert pair.told[1].get(timeout=10) is None
    pair.both_enter(2)


def test_a_member_that_cannot_be_reached_is_accused(pair: Pair) -> None:
    pair.ends[1].close()
    _, thread = pair.enter(0, 1)
    thread.join(10)
    assert pair.told[0].get(timeout=10) == 1


@pytest.mark.parametrize("message", [frame(1, 0, 0), frame(3, 0, 0), frame(2, 1, 0), b"noise"])
def test_a_frame_of_another_epoch_or_sender_is_never_given_out(pair: Pair, message: bytes) -> None:
    sessions = pair.both_enter(2)
    pair.links[0].send(1, message)
    with pytest.raises(ViewLost):
        sessions[1].take(0, 0, 0, 0, 0, 8)
    assert not sessions[1].is_open


def test_a_view_can_follow_on_a_view_many_times(pair: Pair) -> None:
    for number in range(1, 20):
        sessions = pair.both_enter(number)
        for rank in range(2):
            pair.links[rank].send(1 - rank, frame(number, rank, 0))
        for rank in range(2):
            assert bytes(sessions[rank].take(1 - rank, 0, 0, 0, 0, 8)) == b"12345678"
        for session in sessions:
            session.close()
    assert all(told.empty() for told in pair.told)


@pytest.mark.parametrize("method", ["Stream", "Abort"])
@pytest.mark.parametrize("key", [b"a guess", b"", KEY[:-1]])
def test_a_stranger_is_refused_and_the_members_do_not_notice(method: str, key: bytes) -> None:
    pair = Pair("grpc")
    sessions = pair.both_enter(1)
    metadata = (("ringyard-key", key.hex()), ("ringyard-epoch", "1.1"), ("ringyard-sender", "0"))
    with grpc.insecure_channel(pair.ends[1].address) as channel:
        path = f"/ringyard.collective.v1.Collective/{method}"
        call: Any = (
            channel.stream_unary(path, None, None) if method == "Stream" else channel.unary_unary(path, None, None)
        )
        said: Any = iter([frame(1, 0, 0)]) if method == "Stream" else b"\x08\x01\x10\x01"
        with pytest.raises(grpc.RpcError) as refused:
            call(said, metadata=metadata, timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert all(session.is_open for session in sessions)
    for end in pair.ends:
        end.close()


def test_a_second_stream_of_the_same_member_is_refused() -> None:
    pair = Pair("grpc")
    sessions = pair.both_enter(1)
    metadata = (("ringyard-key", KEY.hex()), ("ringyard-epoch", "1.1"), ("ringyard-sender", "0"))
    with grpc.insecure_channel(pair.ends[1].address) as channel:
        stream = channel.stream_unary("/ringyard.collective.v1.Collective/Stream", None, None)
        with pytest.raises(grpc.RpcError, match="no place for a stream of rank 0"):
            stream(iter([frame(1, 0, 0)]), metadata=metadata, timeout=10)
    assert sessions[1].is_open
    for end in pair.ends:
        end.close()
