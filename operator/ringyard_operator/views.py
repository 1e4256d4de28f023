"""What a view is made of: the facts of attendance that `membership` changes and the coordinator translates to the wire.

Plain data, no behaviour beyond order and identity. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What a member says of itself when it begins to attend (coordinator.v1 Hello)."""

    worker: int
    process: int
    incarnation: str
    attempt: int
    process_attempt: int
    address: str
    host_id: str = ""
    has_state: bool = False
    step: int = 0
    last_epoch: tuple[int, int] | None = None
    last_size: int = 0
    metrics_address: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """What ranks are ordered by, and what only one member at a time may hold."""
        return (self.worker, self.process)

    @property
    def age(self) -> tuple[int, int]:
        """Of two members in one place the one with the higher age is the newer."""
        return (self.attempt, self.process_attempt)


@dataclass(kw_only=True)
class Attendee:
    """One member that attends. Changed by events only."""

    key: int
    arrival: Arrival
    joined_at: float
    has_state: bool
    step: int
    phase: str = "WAITING"
    entered_op: int = 0
    joined_view: tuple[int, int] | None = None
    progress_at: float
    stepped: bool = False  # has made a step in this life: before, it cannot hang
    leaving: str = ""
    leaving_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """The group from now on: members in rank order."""

    term: int
    number: int
    members: tuple[Attendee, ...]
    leader: int
    urgent: bool
    reason: str
    issued_at: float

    def rank_of(self, key: int) -> int | None:
        """The rank of an attendee, or None if it is not in the view."""
        return next((rank for rank, member in enumerate(self.members) if member.key == key), None)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the plan wants of the group."""

    replicas: int
    min_replicas: int = 1
    stall_seconds: float = 300.0
    indices: frozenset[int] | None = None  # None = 0 … replicas-1


@dataclass(frozen=True, kw_only=True)
class Hang:
    """A process that made no progress: to be killed by its agent and counted once."""

    uid: str
    index: int
    process_attempt: int
    since: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows from the facts. `view` is set only when a new one was made just now."""

    view: View | None
    fenced: tuple[tuple[int, str], ...]  # attendee keys with the sentence
    wake_at: float | None
