"""The operations of one view on numpy buffers: AllReduce (SUM, in place), broadcast, barrier. `gang` calls it.

It follows `schedule` and talks through a `Session` (in) and `Links` (out). It knows no coordinator and no torch; a CPU
tensor shares its memory with a numpy array. All ranks call the same operations in the same order, one thread each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringyard_trainer.collective import schedule
from ringyard_trainer.collective.frames import Header, encode_header
from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.transport import Links

Buffer = NDArray[np.generic]
SUMMABLE = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))
_AHEAD = 4  # chunks under way to the other member of a pair while one is summed


class Engine:
    """Operations of one view, numbered from 0."""

    def __init__(self, session: Session, links: Links) -> None:
        self._session, self._links = session, links
        self._rank, self._size = session.view.rank, session.view.size
        self.entered = 0  # operations entered so far; a hang is blamed on who entered the fewest
        self.bytes_sent = 0

    def allreduce(self, array: Buffer) -> None:
        """Sums `array` over all members, in place; shape (n,), contiguous, float32, float64 or int64.

        The order of summation is `schedule`'s; all ranks end bit-identical. Raises `ViewLost` (the content is then
        undefined), `Mismatch` when the ranks are not in the same operation, TypeError for another kind of array.
        """
        _check(array)
        op = self._enter()
        form = schedule.form(self._size, array.nbytes)
        if form == "exchange":
            self._exchange(op, array)
        elif form == "star":
            self._star(op, array)
        elif form == "ring":
            self._ring(op, array)

    def broadcast(self, array: Buffer, root: int) -> None:
        """Gives every member the content of `root`'s array; same shape (n,) and type on all. Raises as `allreduce`."""
        if array.ndim != 1 or not array.flags.c_contiguous:
            raise TypeError(f"a broadcast takes a contiguous array of one dimension, got shape {array.shape}")
        op = self._enter()
        if self._size == 1:
            return
        data = array.view(np.uint8) if array.size else np.empty(0, np.uint8)
        if self._size > 2 and array.nbytes > schedule.SMALL:
            self._chain(op, data, root)
        elif self._rank == root:
            self._send_all(op, 0, data, [rank for rank in range(self._size) if rank != root])
        else:
            self._receive(op, 0, root, data)

    def broadcast_bytes(self, data: bytes | None, root: int) -> bytes:
        """Gives every member the bytes that `root` has; the others pass None."""
        mine = data if self._rank == root and data is not None else b""
        length = np.array([len(mine)], np.int64)
        self.broadcast(length, root)
        if self._rank == root:
            self.broadcast(np.frombuffer(mine, np.uint8), root)
            return mine
        buffer = np.empty(int(length[0]), np.uint8)
        self.broadcast(buffer, root)
        return buffer.tobytes()

    def barrier(self) -> None:
        """Returns when every member has called it."""
        self.allreduce(np.zeros(1, np.int64))

    def _enter(self) -> int:
        self._session.check()
        self.entered += 1
        return self.entered - 1

    def _exchange(self, op: int, array: Buffer) -> None:
        peer = 1 - self._rank
        spans = schedule.chunks((0, len(array)), array.itemsize)
        for index in range(min(_AHEAD, len(spans))):
            self._send(op, 0, 0, index, array[slice(*spans[index])], (peer,))
        for index, span in enumerate(spans):
            if index + _AHEAD < len(spans):
                self._send(op, 0, 0, index + _AHEAD, array[slice(*spans[index + _AHEAD])], (peer,))
            own = array[slice(*span)]
            theirs = self._take(op, 0, 0, index, own, peer)
            first, second = (own, theirs) if self._rank == 0 else (theirs, own)
            np.add(first, second, out=own)

    def _star(self, op: int, array: Buffer) -> None:
        if self._rank == 0:
            for rank in range(1, self._size):
                np.add(array, self._take(op, 0, 0, 0, array, rank), out=array)
            self._send(op, 1, 0, 0, array, range(1, self._size))
        else:
            self._send(op, 0, 0, 0, array, (0,))
            array[:] = self._take(op, 1, 0, 0, array, 0)

    def _ring(self, op: int, array: Buffer) -> None:
        following, previous = (self._rank + 1) % self._size, (self._rank - 1) % self._size
        pieces = [schedule.chunks(span, array.itemsize) for span in schedule.segments(len(array), self._size)]
        for chunk, span in enumerate(pieces[self._rank]):
            self._send(op, 0, self._rank, chunk, array[slice(*span)], (following,))
        for turn in schedule.ring_turns(self._rank, self._size):
            for chunk, span in enumerate(pieces[turn.segment]):
                own = array[slice(*span)]
                received = self._take(op, turn.phase, turn.segment, chunk, own, previous)
                if turn.reduce:
                    np.add(received, own, out=own)
                else:
                    own[:] = received
                if turn.forward:
                    self._send(op, turn.phase + 1, turn.segment, chunk, own, (following,))

    def _chain(self, op: int, data: Buffer, root: int) -> None:
        """Large data goes from rank to rank, chunk by chunk: each member sends it once."""
        following, previous = (self._rank + 1) % self._size, (self._rank - 1) % self._size
        to = () if following == root else (following,)
        if self._rank == root:
            self._send_all(op, 0, data, to)
            return
        self._receive(op, 0, previous, data, to)

    def _send_all(self, op: int, phase: int, data: Buffer, ranks: tuple[int, ...] | list[int]) -> None:
        for chunk, span in enumerate(schedule.chunks((0, len(data)), 1)):
            self._send(op, phase, 0, chunk, data[slice(*span)], ranks)

    def _receive(self, op: int, phase: int, sender: int, data: Buffer, forward: tuple[int, ...] = ()) -> None:
        for chunk, span in enumerate(schedule.chunks((0, len(data)), 1)):
            own = data[slice(*span)]
            own[:] = self._take(op, phase, 0, chunk, own, sender)
            if forward:
                self._send(op, phase, 0, chunk, own, forward)

    def _send(
        self, op: int, phase: int, segment: int, chunk: int, data: Buffer, ranks: tuple[int, ...] | list[int] | range
    ) -> None:
        """Copies the data once, behind its header: the buffer may change as soon as this returns."""
        epoch = self._session.view.epoch
        header = Header(epoch.term, epoch.number, self._rank, op, phase, segment, chunk)
        message = b"".join((encode_header(header, data.nbytes), data.view(np.uint8).data if data.size else b""))
        for rank in ranks:
            self.bytes_sent += len(message)
            self._links.send(rank, message)

    def _take(self, op: int, phase: int, segment: int, chunk: int, like: Buffer, sender: int) -> Buffer:
        payload = self._session.take(sender, op, phase, segment, chunk, like.nbytes)
        return np.frombuffer(payload, like.dtype)


def _check(array: Buffer) -> None:
    if array.ndim != 1 or not array.flags.c_contiguous or not array.flags.writeable:
        raise TypeError(f"AllReduce takes a writeable contiguous array of one dimension, got shape {array.shape}")
    if array.dtype not in SUMMABLE:
        raise TypeError(f"AllReduce sums float32, float64 and int64, got {array.dtype}")
