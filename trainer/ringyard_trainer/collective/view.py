"""A view: who is in the ring, as the coordinator says it; and the other things that a coordinator can say.

`attendance` and `roster` make them, `gang`, `session` and the transports read them. Plain data: it knows no wire.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Epoch:
    """Epochs are ordered by term (rises with each coordinator), then number (rises with each of its views)."""

    term: int
    number: int

    def __str__(self) -> str:
        return f"{self.term}.{self.number}"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One training process of a view."""

    rank: int
    address: str
    worker: int = 0
    process: int = 0
    incarnation: str = ""
    process_attempt: int = 0
    host_id: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """The ring of one epoch as one member sees it. `key` is per job: members prove themselves to each other with it."""

    epoch: Epoch
    rank: int
    leader: int
    members: tuple[Member, ...]
    key: bytes = b""
    urgent: bool = False
    reason: str = ""

    @property
    def size(self) -> int:
        """How many members sum together."""
        return len(self.members)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Out of any view for now; `urgent`: the ring is broken, drop the op at once."""

    reason: str
    urgent: bool = False


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A newer incarnation took the place."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The result stands."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Write a checkpoint at the next step boundary and go on."""

    reason: str


Directive = View | Wait | Fence | Finish | Checkpoint
