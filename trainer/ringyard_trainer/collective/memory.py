"""A transport inside one process: members in threads, frames by reference. A shipped peer, not a mock.

Used by tests and by whoever wants the loop without a network (a gang of one, a notebook). Same contract as gRPC.
"""

from __future__ import annotations

import threading

from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import Epoch, View


class MemoryNetwork:
    """Where members of one process find each other by address."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.members: dict[str, MemoryTransport] = {}
        self._count = 0

    def member(self) -> MemoryTransport:
        """A new end with an address of its own."""
        with self.changed:
            self._count += 1
            transport = MemoryTransport(self, f"memory:{self._count}")
            self.members[transport.address] = transport
            return transport

    def cut(self, address: str) -> None:
        """The member at `address` is gone from one moment to the next, as if it were killed."""
        with self.changed:
            gone = self.members.pop(address)
            gone.alive = False
            peers = list(self.members.values())
            self.changed.notify_all()
        if gone.session is not None:
            gone.session.fail(None, "this member was cut off")
        for peer in peers:
            peer.lose(address)


class MemoryTransport:
    """One member's end."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.address = address
        self.alive = True
        self.session: Session | None = None
        self._network = network

    def open(self, view: View, session: Session) -> MemoryLinks:
        """Enters the view and waits for the others to enter it."""
        changed = self._network.changed
        peers = [m for m in view.members if m.rank != view.rank]
        with changed:
            self.session = session
            changed.notify_all()
        session.bind(lambda good: self._ended(view, good))
        sessions: dict[int, Session] = {}
        for peer in peers:
            with changed:
                while (found := self._answer(peer.address, view.epoch)) is None and session.is_open:
                    changed.wait()
            session.check()
            if isinstance(found, Session):
                sessions[peer.rank] = found
            else:
                session.fail(peer.rank if found == "gone" else None, f"rank {peer.rank}: {found}")
                session.check()
        return MemoryLinks(view.rank, sessions)

    def _answer(self, address: str, epoch: Epoch) -> Session | str | None:
        """The peer's session of `epoch`, or why there will be none, or None where it is yet to enter."""
        peer = self._network.members.get(address)
        if peer is None:
            return "gone"
        if peer.session is None or peer.session.view.epoch < epoch:
            return None
        if peer.session.view.epoch > epoch:
            return "it is in a newer view"
        return peer.session if peer.session.is_open else "it left the view"

    def _ended(self, view: View, good: bool) -> None:
        with self._network.changed:
            peers = [self._network.members.get(m.address) for m in view.members if m.rank != view.rank]
            self._network.changed.notify_all()
        for peer in peers:
            if peer is not None and peer.session is not None and peer.session.view.epoch == view.epoch:
                peer.session.ended(view.rank)
                if not good and self.alive:
                    peer.session.fail(None, f"rank {view.rank} dropped the view")

    def lose(self, address: str) -> None:
        """A peer is gone."""
        session = self.session
        if session is not None:
            for member in session.view.members:
                if member.address == address:
                    session.fail(member.rank, "its link broke")

    def close(self) -> None:
        """Leaves the network."""
        if self.session is not None:
            self.session.close()
        with self._network.changed:
            self.alive = False
            self._network.members.pop(self.address, None)
            self._network.changed.notify_all()


class MemoryLinks:
    """The peers' sessions of one view."""

    def __init__(self, rank: int, sessions: dict[int, Session]) -> None:
        self._rank, self._sessions = rank, sessions

    def send(self, rank: int, message: bytes) -> None:
        """Delivers at once, in this thread."""
        self._sessions[rank].deliver(self._rank, message)
