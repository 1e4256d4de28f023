"""The transport over gRPC: one client stream per ordered pair of members and view, raw frames, sync threads.

`gang` opens it. Streams and sync because unary calls and asyncio cost more per message (facts/collectives.md §4). A
stream is accepted (initial metadata) only when the receiver has entered the same epoch: a newcomer's stream waits for
that, a late one is refused. So a frame can never meet another epoch. A broken stream accuses its peer; a stream that
ends in good order accuses nobody. It knows no arithmetic and no coordinator.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from ringyard_trainer.collective import tuning
from ringyard_trainer.collective.daemon_pool import DaemonPool
from ringyard_trainer.collective.grpc_links import ACCEPTED, CHANNEL_OPTIONS, EPOCH, KEY, SENDER, GrpcLinks
from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import Epoch, View
from ringyard_trainer.protos import collective_pb2 as pb

_SERVER_OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 300),
    ("grpc.http2.max_ping_strikes", 0),
)
_CLOSE_SECONDS = 1.5  # for frames on their way to peers that are a little behind


class GrpcTransport:
    """One member's end: a server on `host` for incoming streams, and a channel to each peer of the present view."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        tuning.keep_heap()
        self._changed = threading.Condition()
        self._session: Session | None = None
        self._streams: set[tuple[Epoch, int]] = set()
        self._closed = False
        self._retired: list[GrpcLinks] = []
        pool: Any = DaemonPool("ringyard-collective")  # typed as the standard pool; any executor will do
        self._server = grpc.server(pool, options=_SERVER_OPTIONS)
        handlers = {
            "Stream": grpc.stream_unary_rpc_method_handler(self._stream, None, pb.StreamEnd.SerializeToString),
            "Abort": grpc.unary_unary_rpc_method_handler(
                self._abort, pb.AbortRequest.FromString, pb.AbortReply.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("ringyard.collective.v1.Collective", handlers),)
        )
        bracketed = f"[{host}]" if ":" in host else host
        port = self._server.add_insecure_port(f"{bracketed}:0")
        self.address = f"{bracketed}:{port}"
        self._server.start()

    def open(self, view: View, session: Session) -> GrpcLinks:
        """Enters the view, connects to every peer, waits until all of them accept. Raises `ViewLost`."""
        with self._changed:
            self._session = session
            self._streams = {s for s in self._streams if s[0] == view.epoch}
            self._changed.notify_all()
        self._retired = [links for links in self._retired if not links.sweep()]
        links = GrpcLinks(view, session)
        self._retired.append(links)
        session.bind(links.end)
        links.connect()
        return links

    def close(self) -> None:
        """Ends the server and all channels; frames on their way get a moment to arrive."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            session = self._session
            self._changed.notify_all()
        if session is not None:
            session.close()
        until = time.monotonic() + _CLOSE_SECONDS
        for links in self._retired:
            links.finish(until)
        self._server.stop(0.2).wait(1.0)

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> pb.StreamEnd:
        sender, epoch = _claim(context)
        session = self._enter(sender, epoch, context)
        context.send_initial_metadata(((ACCEPTED, "1"),))
        try:
            for message in requests:
                session.deliver(sender, message)
        except grpc.RpcError:
            session.fail(sender, "its stream broke")
            return pb.StreamEnd(reason="broken")
        if context.is_active():
            session.ended(sender)
        else:
            session.fail(sender, "its stream broke")
        return pb.StreamEnd(reason="end")

    def _enter(self, sender: int, epoch: Epoch, context: grpc.ServicerContext) -> Session:
        """Waits until this member is in `epoch`, and answers with its session. Aborts the call if it never will be."""
        context.add_callback(self._wake)
        with self._changed:
            self._check_key(context)
            while not self._closed and context.is_active():
                session = self._session
                if session is not None and session.view.epoch >= epoch:
                    break
                self._changed.wait()
                self._check_key(context)
            session = self._session
            if session is None or session.view.epoch != epoch or not session.is_open:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"epoch {epoch} is over here")
                raise AssertionError  # abort raises
            if not 0 <= sender < session.view.size or sender == session.view.rank or (epoch, sender) in self._streams:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no place for a stream of rank {sender}")
            self._streams.add((epoch, sender))
            return session

    def _check_key(self, context: grpc.ServicerContext) -> None:
        """Refuses who cannot prove membership. Before the first view there is no key to compare with: it waits."""
        if self._session is None:
            return
        given = str(dict(context.invocation_metadata()).get(KEY, ""))
        if not hmac.compare_digest(given.encode(), self._session.view.key.hex().encode()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this is no member of the job")

    def _abort(self, request: pb.AbortRequest, context: grpc.ServicerContext) -> pb.AbortReply:
        self._check_key(context)
        session = self._session
        if session is not None and session.view.epoch == Epoch(request.term, request.number):
            session.fail(None, f"rank {request.sender} dropped the view: {request.reason}")
        return pb.AbortReply()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _claim(context: grpc.ServicerContext) -> tuple[int, Epoch]:
    said = dict(context.invocation_metadata())
    try:
        term, number = str(said[EPOCH]).split(".")
        return int(str(said[SENDER])), Epoch(int(term), int(number))
    except (KeyError, ValueError):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"metadata {EPOCH}, {SENDER} and {KEY} must be set")
        raise AssertionError from None  # abort raises
