"""Attends at the coordinator over gRPC for as long as the process lives. `gang` starts it; it is one thread.

The coordinator's file and the token's are read anew before each dial, because a new coordinator has a new address.
A dial begins with a hello that says where the member is, and repeats what must not get lost (leaving, result), so a
coordinator that comes back learns all of it. While none answers, training goes on. It decides nothing about views.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import grpc
from ringyard_api.launch import WorkerLaunch
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_trainer.collective.desk import Standing
from ringyard_trainer.collective.grpc_links import CHANNEL_OPTIONS
from ringyard_trainer.collective.view import Checkpoint, Directive, Epoch, Fence, Finish, Member, View, Wait

PROTOCOLS = (1,)
REPORT_SECONDS = 0.25
_BACK_OFF = (0.05, 1.0)  # seconds: first and longest
_OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.min_reconnect_backoff_ms", 2000),  # a try to connect takes no longer; 20 s by default
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Attendance:
    """The desk of a member whose coordinator is a gRPC service."""

    def __init__(self, launch: WorkerLaunch, metrics_address: str = "") -> None:
        self._launch, self._metrics_address = launch, metrics_address
        self._outbox: SimpleQueue[pb.Attendance | None] = SimpleQueue()
        self._kept: dict[str, pb.Attendance] = {}  # repeated at each dial
        self._lock = threading.Lock()  # what is kept goes out on the present stream or on the next, never on none
        self._closed = threading.Event()
        self._channel: grpc.Channel | None = None
        self._thread: threading.Thread | None = None
        self.trouble = ""

    def attend(self, address: str, standing: Callable[[], Standing], listener: Callable[[Directive], None]) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(
            target=self._run, args=(address, standing, listener), name="ringyard-attendance", daemon=True
        )
        self._thread.start()

    def poke(self) -> None:
        """Progress goes out at once."""
        self._outbox.put(None)

    def peer_lost(self, epoch: Epoch, rank: int, reason: str) -> None:
        """Not repeated: a coordinator that was away makes a new view by itself."""
        lost = pb.PeerLost(epoch=pb.Epoch(term=epoch.term, number=epoch.number), rank=rank, reason=reason)
        self._outbox.put(pb.Attendance(peer_lost=lost))

    def leaving(self, reason: str) -> None:
        """Repeated at each dial."""
        self._keep("leaving", pb.Attendance(leaving=pb.Leaving(reason=reason)))

    def result(self, json: bytes) -> None:
        """Repeated at each dial."""
        self._keep("result", pb.Attendance(result=pb.Result(json=json)))

    def close(self) -> None:
        """Hangs up; what was just said still gets out."""
        self._closed.set()
        self._outbox.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(0.5)
            channel = self._channel
            if self._thread.is_alive() and channel is not None:
                channel.close()
                self._thread.join(0.5)

    def _keep(self, kind: str, message: pb.Attendance) -> None:
        with self._lock:
            self._kept[kind] = message
            self._outbox.put(message)

    def _run(self, address: str, standing: Callable[[], Standing], listener: Callable[[Directive], None]) -> None:
        pause = _BACK_OFF[0]
        while not self._closed.is_set():
            try:
                where = Path(self._launch.coordinator_file).read_text().strip()
                token = Path(self._launch.token_file).read_text().strip()
            except OSError as error:
                where, token, self.trouble = "", "", str(error)
            if where and self._attend_once(where, token, self._hello(address, standing()), standing, listener):
                pause = _BACK_OFF[0]
            self._closed.wait(pause)
            pause = min(pause * 2, _BACK_OFF[1])

    def _attend_once(
        self,
        where: str,
        token: str,
        hello: pb.Attendance,
        standing: Callable[[], Standing],
        listener: Callable[[Directive], None],
    ) -> bool:
        """One stream from dial to end; whether the coordinator ever answered on it."""
        answered = False
        dialled = SimpleQueue[pb.Attendance | None]()
        with self._lock:
            for kept in self._kept.values():
                dialled.put(kept)
            self._outbox = dialled  # a message put into the one before is kept, or is stale by now
        over = threading.Event()
        self._channel = channel = grpc.insecure_channel(where, options=_OPTIONS)
        try:
            credentials = (("authorization", f"Bearer {token}"),)
            words = self._words(dialled, hello, standing, over)
            for directive in rpc.CoordinatorStub(channel).Attend(words, metadata=credentials):
                answered = True
                meant = read_directive(directive)
                if meant is not None:
                    listener(meant)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed under us
            self.trouble = str(error.details()) if isinstance(error, grpc.Call) else str(error)
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.PERMISSION_DENIED:
                listener(Fence(reason=self.trouble))  # who knows us and forbids us to speak will never let us
        finally:
            over.set()
            dialled.put(None)
            channel.close()
        return answered

    def _words(
        self,
        outbox: SimpleQueue[pb.Attendance | None],
        hello: pb.Attendance,
        standing: Callable[[], Standing],
        over: threading.Event,
    ) -> Iterator[pb.Attendance]:
        """What this member says on one stream, on gRPC's thread: the hello, then messages and progress as they come."""
        yield hello
        said: pb.Attendance | None = None
        next_at, poked = 0.0, True
        while not over.is_set():
            try:
                message = outbox.get(timeout=REPORT_SECONDS)
                poked = message is None
                if message is not None:
                    yield message
            except Empty:
                poked = False
            now = time.monotonic()
            if poked or now >= next_at:
                progress = write_progress(standing())
                if progress != said:
                    said, next_at = progress, now + REPORT_SECONDS
                    yield progress
            if self._closed.is_set() and outbox.empty():
                return

    def _hello(self, address: str, standing: Standing) -> pb.Attendance:
        launch, epoch = self._launch, standing.in_view
        hello = pb.Hello(
            protocols=PROTOCOLS,
            worker=launch.worker_index,
            process=0,
            incarnation=launch.incarnation,
            attempt=launch.attempt,
            process_attempt=launch.process_attempt,
            address=address,
            host_id=_host_id(),
            has_state=standing.has_state,
            step=standing.step,
            metrics_address=self._metrics_address,
        )
        if epoch is not None:
            hello.last_epoch.CopyFrom(pb.Epoch(term=epoch.term, number=epoch.number))
            hello.last_size = standing.view_size
        return pb.Attendance(hello=hello)


def write_progress(standing: Standing) -> pb.Attendance:
    """The message that says where a member is."""
    progress = pb.Progress(
        phase=pb.Progress.Phase.Value(standing.phase),
        step=standing.step,
        total_steps=standing.total_steps,
        epoch=standing.epoch,
        loss=standing.loss,
        samples_per_second=standing.samples_per_second,
        entered_op=standing.entered_op,
        note=standing.note,
        best_metric=standing.best_metric,
        has_state=standing.has_state,
    )
    if standing.in_view is not None:
        progress.in_view.CopyFrom(pb.Epoch(term=standing.in_view.term, number=standing.in_view.number))
    return pb.Attendance(progress=progress)


def read_directive(directive: pb.Directive) -> Directive | None:
    """What the coordinator said; None for something that a later coordinator may say."""
    kind = directive.WhichOneof("directive")
    if kind == "view":
        return _read_view(directive.view)
    if kind == "wait":
        return Wait(reason=directive.wait.reason, urgent=directive.wait.urgent)
    if kind == "fenced":
        return Fence(reason=directive.fenced.reason)
    if kind == "finish":
        return Finish(reason=directive.finish.reason)
    if kind == "checkpoint":
        return Checkpoint(reason=directive.checkpoint.reason)
    return None


def _read_view(view: pb.View) -> View:
    return View(
        epoch=Epoch(view.epoch.term, view.epoch.number),
        rank=view.your_rank,
        leader=view.leader,
        key=view.key,
        urgent=view.urgent,
        reason=view.reason,
        members=tuple(
            Member(
                rank=m.rank,
                address=m.address,
                worker=m.worker,
                process=m.process,
                incarnation=m.incarnation,
                process_attempt=m.process_attempt,
                host_id=m.host_id,
            )
            for m in view.members
        ),
    )


def _host_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
