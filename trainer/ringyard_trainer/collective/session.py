"""One epoch's mail: frames that arrived, by sender, and whether the view still stands. Threads meet here.

Transport threads deliver and fail; the one thread that runs the operations takes. A wait ends by a frame or by the end
of the view, never by a timeout. It knows no transport and no arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from ringyard_trainer.collective.frames import BadFrame, Header, decode
from ringyard_trainer.collective.outcomes import Mismatch, ViewLost
from ringyard_trainer.collective.view import Epoch, View

OnBroken = Callable[[int | None, str], None]


class Session:
    """Mail of one view. `on_broken(rank, reason)` is told once if it fails; rank None accuses nobody."""

    def __init__(self, view: View, on_broken: OnBroken | None = None) -> None:
        self.view = view
        self.bytes_received = 0
        self._mail: tuple[SimpleQueue[tuple[Header, memoryview] | None], ...] = tuple(
            SimpleQueue() for _ in view.members
        )
        self._on_broken = on_broken
        self._on_end: Callable[[bool], None] | None = None
        self._lock = threading.Lock()
        self._broken: str | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the view still stands for this member."""
        return not self._closed and self._broken is None

    def bind(self, on_end: Callable[[bool], None]) -> None:
        """The transport's way to end its links: called once with whether the end is good; at once if it is past."""
        with self._lock:
            self._on_end = on_end
            if self.is_open:
                return
        on_end(self._closed)

    def deliver(self, sender: int, message: bytes) -> None:
        """A frame arrived on the stream of rank `sender`. One of another epoch or another sender fails the session."""
        try:
            header, data = decode(message)
        except BadFrame as bad:
            self.fail(sender, f"sent something that is no frame: {bad}")
            return
        if Epoch(header.term, header.number) != self.view.epoch or header.sender != sender:
            self.fail(None, f"rank {sender} sent a frame of epoch {header.term}.{header.number}, rank {header.sender}")
            return
        self.bytes_received += len(message)
        self._mail[sender].put((header, data))

    def ended(self, sender: int) -> None:
        """Rank `sender` sent all it will ever send in this view."""
        self._mail[sender].put(None)

    def fail(self, rank: int | None, reason: str) -> None:
        """The view is lost: wakes whoever waits, ends the links, tells `on_broken`. Only the first call counts."""
        with self._lock:
            if not self.is_open:
                return
            self._broken = reason
            on_end = self._on_end
        for queue in self._mail:
            queue.put(None)
        if on_end is not None:
            on_end(False)
        if self._on_broken is not None:
            self._on_broken(rank, reason)

    def close(self) -> None:
        """Leaves the view in good order: what was sent still arrives."""
        with self._lock:
            if not self.is_open:
                return
            self._closed = True
            on_end = self._on_end
        if on_end is not None:
            on_end(True)

    def check(self) -> None:
        """Raises `ViewLost` where the view no longer stands."""
        if self._broken is not None:
            raise ViewLost(self._broken)
        if self._closed:
            raise ViewLost("this member left the view")

    def take(self, sender: int, op: int, phase: int, segment: int, chunk: int, length: int) -> memoryview:
        """The payload of the frame that is due next from `sender`; waits for it. Raises `ViewLost`, `Mismatch`."""
        self.check()
        item = self._mail[sender].get()
        self.check()
        if item is None:
            self.fail(None, f"rank {sender} left the view")
            raise ViewLost(f"rank {sender} left the view")
        header, data = item
        if (header.op, header.phase, header.segment, header.chunk, len(data)) != (op, phase, segment, chunk, length):
            raise Mismatch(
                f"the members do not run the same program: rank {sender} sent {len(data)} bytes of operation "
                f"{header.op} (phase {header.phase}, segment {header.segment}, chunk {header.chunk}) where {length} "
                f"bytes of operation {op} ({phase}, {segment}, {chunk}) are due; give all workers the same code, data"
            )
        return data
