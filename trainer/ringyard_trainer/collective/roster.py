"""A desk inside one process: members in threads, views by hand of `Roster`. A shipped peer, not a mock.

It gives the first view when `size` members attend, a planned one when a member joins or leaves, an urgent one when a
member is accused or dropped, and the end when a result is handed in. It has no clock and no policy; those are the
coordinator's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ringyard_trainer.collective.desk import Standing
from ringyard_trainer.collective.view import Checkpoint, Directive, Epoch, Fence, Finish, Member, View, Wait

Listener = Callable[[Directive], None]


class Roster:
    """Hands out views to the members of one process."""

    def __init__(self, size: int, term: int = 1) -> None:
        self.size = size
        self.results: list[bytes] = []
        self.view_changes = 0
        self._term = term
        self._lock = threading.RLock()
        self._members: list[RosterDesk] = []
        self._number = 0

    def desk(self) -> RosterDesk:
        """A place for one more member."""
        return RosterDesk(self)

    def join(self, desk: RosterDesk) -> None:
        """A member attends."""
        with self._lock:
            self._members.append(desk)
            if self._number or len(self._members) >= self.size:
                self._issue(urgent=False, reason="a member joins")
            else:
                desk.tell(Wait(reason=f"{len(self._members)} of {self.size} members attend"))

    def go(self, desk: RosterDesk, *, urgent: bool, reason: str, told: Directive | None) -> None:
        """A member is out: it is told why, the others get a view without it."""
        with self._lock:
            if desk not in self._members:
                return
            self._members.remove(desk)
            if told is not None:
                desk.tell(told)
            if self._members and self._number:
                self._issue(urgent=urgent, reason=reason)

    def accuse(self, epoch: Epoch, rank: int, reason: str) -> None:
        """The member of that rank is taken for lost, if the view is the one in force."""
        with self._lock:
            if epoch == Epoch(self._term, self._number) and rank < len(self._members):
                self.go(self._members[rank], urgent=True, reason=reason, told=Fence(reason=f"taken for lost: {reason}"))

    def finish(self, json: bytes) -> None:
        """The result stands."""
        with self._lock:
            self.results.append(json)
            for desk in self._members:
                desk.tell(Finish(reason="the result stands"))

    def request_checkpoint(self) -> None:
        """Asks all for one."""
        with self._lock:
            for desk in self._members:
                desk.tell(Checkpoint(reason="asked for"))

    def _issue(self, *, urgent: bool, reason: str) -> None:
        self._number += 1
        self.view_changes += 1
        standings = [desk.standing() for desk in self._members]
        leader = next((rank for rank, standing in enumerate(standings) if standing.has_state), 0)
        members = tuple(Member(rank=r, worker=r, address=d.address) for r, d in enumerate(self._members))
        for rank, desk in enumerate(self._members):
            desk.tell(
                View(
                    epoch=Epoch(self._term, self._number),
                    rank=rank,
                    leader=leader,
                    members=members,
                    key=b"of one process",
                    urgent=urgent,
                    reason=reason,
                )
            )


class RosterDesk:
    """One member's place."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.address = ""
        self.standing: Callable[[], Standing] = Standing
        self.tell: Listener = lambda directive: None

    def attend(self, address: str, standing: Callable[[], Standing], listener: Listener) -> None:
        """Joins the roster."""
        self.address, self.standing, self.tell = address, standing, listener
        self._roster.join(self)

    def poke(self) -> None:
        """The roster looks when it needs to know."""

    def peer_lost(self, epoch: Epoch, rank: int, reason: str) -> None:
        """An accusation is believed at once here."""
        self._roster.accuse(epoch, rank, reason)

    def leaving(self, reason: str) -> None:
        """A planned view without this member."""
        self._roster.go(self, urgent=False, reason=reason, told=Wait(reason="you leave"))

    def result(self, json: bytes) -> None:
        """Ends the group."""
        self._roster.finish(json)

    def close(self) -> None:
        """Gone."""
        self._roster.go(self, urgent=True, reason="a member closed", told=None)
