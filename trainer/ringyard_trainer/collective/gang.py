"""The gang: what the training loop calls. It joins attendance (who is in the ring) and engine (what the ring computes).

One thread calls everything; a signal handler may call `leave`. Read `next_view` for the life of a member:
it waits for a view newer than the last, connects the ring, and gives it; every other turn of a life is an exception.
It knows no model, no data and no checkpoint. Issue and design: COLLECTIVE.md §Membership, §Losing no step.
"""

from __future__ import annotations

import atexit
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from ringyard_api.launch import WorkerLaunch

from ringyard_trainer.collective.desk import Desk, Standing
from ringyard_trainer.collective.engine import Buffer, Engine
from ringyard_trainer.collective.inbox import Inbox
from ringyard_trainer.collective.outcomes import Terminated, ViewLost
from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.transport import Transport
from ringyard_trainer.collective.view import Directive, View

LEAVE_SECONDS = 10.0  # without an answer to `leave`, the member goes unasked


class Tensor(Protocol):
    """What torch's CPU tensors and nothing else offer us: the same memory as a numpy array."""

    def detach(self) -> Tensor: ...

    def numpy(self) -> Any: ...


@dataclass
class Stats:
    """Counters of this process; they only grow."""

    allreduce_count: int = 0
    allreduce_seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    view_changes: int = 0  # views that this member has joined after its first


class Gang:
    """One member's life in the group."""

    def __init__(
        self,
        launch: WorkerLaunch | None = None,
        *,
        metrics_address: str = "",
        transport: Transport | None = None,
        desk: Desk | None = None,
    ) -> None:
        """Over gRPC as `launch` says, or over the given transport and desk (`memory`, `roster`)."""
        if launch is not None:
            from ringyard_trainer.collective.attendance import Attendance
            from ringyard_trainer.collective.grpc_transport import GrpcTransport

            transport = transport or GrpcTransport(launch.host)
            desk = desk or Attendance(launch, metrics_address)
        if transport is None or desk is None:
            raise ValueError("a gang needs a launch, or a transport and a desk")
        self._transport, self._desk = transport, desk
        self.stats = Stats()
        self.view: View | None = None
        self._inbox = Inbox()
        self._session: Session | None = None
        self._engine: Engine | None = None
        self._standing = Standing()
        self._leaves: SimpleQueue[str | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._see_leaving_through, name="ringyard-leave", daemon=True).start()
        atexit.register(self.close)

    @property
    def address(self) -> str:
        """Where peers reach this member."""
        return self._transport.address

    @property
    def pending(self) -> bool:
        """Whether a newer view (or a wait) is known: all change together once all know. The loop sums this flag."""
        return self._inbox.pending

    def attend(self, *, step: int = 0, has_state: bool = False) -> None:
        """Begins to attend. Only when data and model are loaded: a view with us in it must not wait for us."""
        self._standing = replace(self._standing, step=step, has_state=has_state, phase="WAITING")
        self._desk.attend(self._transport.address, self._tell_standing, self._on_directive)

    def next_view(self) -> View:
        """Leaves the present view, waits for a newer one, connects its ring. Raises `Finished`, `Fenced`, `Terminated`.

        Until everybody of the view has entered it nobody gets it; a view that is overtaken meanwhile is skipped.
        """
        if self._session is not None:
            self._session.close()
            self._settle()
        while True:
            view = self._inbox.next_view()
            session = Session(view, partial(self._on_broken, view))
            self._session, self._engine = session, None
            if not self._inbox.enter(session):
                continue
            try:
                links = self._transport.open(view, session)
            except ViewLost:
                continue
            self._inbox.joined()
            self._standing = replace(self._standing, in_view=view.epoch, view_size=view.size)
            self._engine = Engine(session, links)
            self.stats.view_changes += self.view is not None
            self.view = view
            self._desk.poke()
            return view

    def allreduce(self, array: Buffer | Tensor) -> None:
        """Sums over all members in place; a numpy array or CPU tensor of shape (n,). Raises `ViewLost`, `Mismatch`."""
        start = time.monotonic()
        self._current().allreduce(_as_array(array))
        self.stats.allreduce_seconds += time.monotonic() - start
        self.stats.allreduce_count += 1
        self._settle()

    def broadcast(self, array: Buffer | Tensor, root: int) -> None:
        """Copies `root`'s array to all, in place."""
        self._current().broadcast(_as_array(array), root)
        self._settle()

    def broadcast_bytes(self, data: bytes | None, root: int) -> bytes:
        """Gives all the bytes of `root`."""
        given = self._current().broadcast_bytes(data, root)
        self._settle()
        return given

    def barrier(self) -> None:
        """Waits for all."""
        self._current().barrier()

    def report(self, **changes: Any) -> None:
        """Says where this member is: any fields of `Standing` by name. Cheap, never waits; goes out 4 times a second.

        Whoever trains has state.
        """
        before = self._standing
        if changes.get("phase") == "TRAINING":
            changes.setdefault("has_state", True)
        self._standing = replace(before, **changes)
        if self._standing.phase != before.phase or self._standing.note != before.note:
            self._desk.poke()

    def checkpoint_wanted(self) -> bool:
        """Whether the coordinator asked for a checkpoint since the last call."""
        return self._inbox.take_checkpoint_request()

    def send_result(self, json: bytes) -> None:
        """Hands in the content of result.json; repeated to a coordinator that comes back."""
        self._desk.result(json)

    def leave(self, reason: str) -> None:
        """Asks to go: `pending` follows, and the next `next_view` raises `Terminated`. A signal handler may call it."""
        # Plain assignment and SimpleQueue.put: neither takes a lock that the interrupted thread may hold.
        self._inbox.leaving = reason
        self._leaves.put(reason)

    def close(self) -> None:
        """Ends connections and threads; what was sent still arrives. May be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._leaves.put(None)
        if self._session is not None:
            self._session.close()
        self._transport.close()
        self._desk.close()

    def _current(self) -> Engine:
        if self._engine is None:
            raise ViewLost("no view yet")
        return self._engine

    def _tell_standing(self) -> Standing:
        engine = self._engine
        return replace(self._standing, entered_op=engine.entered if engine is not None else 0)

    def _settle(self) -> None:
        """Moves the present view's byte counts into the totals."""
        if self._engine is not None and self._session is not None:
            self.stats.bytes_sent += self._engine.bytes_sent
            self.stats.bytes_received += self._session.bytes_received
            self._engine.bytes_sent = self._session.bytes_received = 0

    def _on_directive(self, directive: Directive) -> None:
        broken = self._inbox.put(directive)
        if broken is not None:
            broken.fail(None, getattr(directive, "reason", ""))

    def _on_broken(self, view: View, rank: int | None, reason: str) -> None:
        if rank is not None:
            self._desk.peer_lost(view.epoch, rank, reason)

    def _see_leaving_through(self) -> None:
        """Thread: passes `leave` on, and goes unasked when nobody answers. A signal handler can do neither."""
        reason = self._leaves.get()
        if reason is None:
            return
        self._desk.leaving(reason)
        self._inbox.wake()
        if self._inbox.wait_until_asked_out(LEAVE_SECONDS) or self._closed:
            return
        self._inbox.end(Terminated(f"{reason}; no coordinator answered"))
        session = self._session
        if session is not None:
            session.fail(None, "this member goes: no coordinator answers")


def _as_array(array: Buffer | Tensor) -> Buffer:
    if isinstance(array, np.ndarray):
        return array
    shared: Buffer = array.detach().numpy()
    return shared
