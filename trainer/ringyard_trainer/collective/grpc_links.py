"""One member's outgoing streams of one view. `grpc_transport` makes them; the engine sends on them.

Each peer has a channel of its own per view, so no back-off of an earlier failure slows a new view down.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import Epoch, Member, View
from ringyard_trainer.protos import collective_pb2 as pb

KEY = "ringyard-key"
EPOCH = "ringyard-epoch"
SENDER = "ringyard-sender"
ACCEPTED = "ringyard-accepted"  # in the answer's initial metadata

# A frozen or vanished peer is noticed by keepalive after KEEPALIVE + TIMEOUT; a killed one at once, by its socket.
KEEPALIVE_MS = 1000
KEEPALIVE_TIMEOUT_MS = 2000
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # 60 s by default, and a keepalive often rides on a ping
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_SERVICE = "/ringyard.collective.v1.Collective/"
_ABORT_SECONDS = 1.0
_LINGER_SECONDS = 5.0  # what is still open that long after its view ended is cut


class GrpcLinks:
    """The streams to every other member of `view`."""

    def __init__(self, view: View, session: Session) -> None:
        self._view, self._session = view, session
        self._peers = {m.rank: _Peer(m, view) for m in view.members if m.rank != view.rank}
        self._ended_at: float | None = None
        self._aborts: list[Any] = []

    def connect(self) -> None:
        """Waits until each peer has accepted. Raises `ViewLost`; a peer that cannot be reached is accused."""
        for peer in self._peers.values():
            self._session.check()
            peer.dial()
            peer.call.add_done_callback(partial(self._done, peer.rank))
        for peer in self._peers.values():
            if not self._session.is_open:
                peer.call.cancel()
            # A refusal has initial metadata too, and its status comes a moment later: only the word itself says yes.
            peer.accepted = ACCEPTED in dict(peer.call.initial_metadata() or ())
            if not peer.accepted:
                self._done(peer.rank, peer.call)  # waits for the status
            self._session.check()

    def send(self, rank: int, message: bytes) -> None:
        """Queues a frame; gRPC's own thread takes it from there under flow control."""
        self._peers[rank].out.put(message)

    def end(self, good: bool) -> None:
        """Ends all streams in good order; what waits to be sent goes first if it is a good end, else it is dropped."""
        self._ended_at = time.monotonic()
        for peer in self._peers.values():
            if not good:
                peer.drop()
                self._aborts += peer.abort(self._view, "the view is lost")
            peer.out.put(None)
            if peer.call is not None and not peer.accepted:
                peer.call.cancel()  # the peer has not entered yet, so it would not see the end

    def sweep(self) -> bool:
        """Frees what has ended; True when nothing is left."""
        if self._ended_at is None:
            return not self._peers
        overdue = time.monotonic() - self._ended_at > _LINGER_SECONDS
        self._peers = {rank: peer for rank, peer in self._peers.items() if not peer.free(overdue)}
        return not self._peers

    def finish(self, until: float) -> None:
        """Waits for the ends of the streams until that moment, then cuts them."""
        for peer in self._peers.values():
            peer.wait(until)
            peer.free(True)
        self._peers = {}

    def _done(self, rank: int, call: grpc.Call) -> None:
        """A stream of ours ended. A peer that is in another epoch or closes in good order is not accused."""
        code = call.code()
        if code == grpc.StatusCode.OK:
            return
        innocent = code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED)
        self._session.fail(None if innocent else rank, f"the stream to rank {rank} ended: {call.details() or code}")


class _Peer:
    """The stream to one peer."""

    def __init__(self, member: Member, view: View) -> None:
        self.rank = member.rank
        self.out: SimpleQueue[bytes | None] = SimpleQueue()
        self.call: Any = None  # both grpc.Call and grpc.Future
        self.accepted = False
        self._address = member.address
        self._channel: grpc.Channel | None = None
        self._metadata = (
            (KEY, view.key.hex()),
            (EPOCH, epoch_text(view.epoch)),
            (SENDER, str(view.rank)),
        )

    def dial(self) -> None:
        self._channel = grpc.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        stream: Any = self._channel.stream_unary(_SERVICE + "Stream", None, pb.StreamEnd.FromString)
        self.call = stream.future(self._outgoing(), metadata=self._metadata)

    def _outgoing(self) -> Iterator[bytes]:
        while True:
            message = self.out.get()
            if message is None:
                return
            yield message

    def drop(self) -> None:
        """Forgets what waits to be sent."""
        try:
            while True:
                self.out.get_nowait()
        except Empty:
            return

    def abort(self, view: View, reason: str) -> list[Any]:
        """Tells the peer to drop the view; the answer does not matter, but the call must be kept until it has ended."""
        if self._channel is None:
            return []
        request = pb.AbortRequest(term=view.epoch.term, number=view.epoch.number, sender=view.rank, reason=reason)
        write, read = pb.AbortRequest.SerializeToString, pb.AbortReply.FromString
        abort: Any = self._channel.unary_unary(_SERVICE + "Abort", write, read)
        return [abort.future(request, timeout=_ABORT_SECONDS, metadata=self._metadata)]

    def wait(self, until: float) -> None:
        """Until the stream has ended or the moment has come."""
        if self.call is not None:
            try:
                self.call.exception(timeout=max(0.0, until - time.monotonic()))
            except (grpc.FutureTimeoutError, grpc.FutureCancelledError):
                return

    def free(self, cut: bool) -> bool:
        """Closes the channel if the stream has ended, or anyway when `cut`."""
        if self._channel is not None and (cut or self.call is None or self.call.done()):
            self.out.put(None)
            self._channel.close()
            self._channel = None
        return self._channel is None


def epoch_text(epoch: Epoch) -> str:
    """The epoch as metadata."""
    return f"{epoch.term}.{epoch.number}"
