"""Which form an AllReduce takes, how it is cut, and in which order it sums. The engine follows it; it knows no buffers.

Order of summation (all ranks end bit-identical, because a sum is made once and handed on, or made in the same order
by all):
- `exchange` (2 members): both sum x0 + x1. One message of latency, the same bytes as a ring.
- `star` (3 or more, as long as rank 0 takes in STAR bytes at most): rank 0 sums ((x0 + x1) + x2) + … and sends the sum
  to all. The count of messages is what costs at that size: 2(P-1) instead of a ring's 2P(P-1). Measured on 2 cores, 3
  and 4 members: 2.2 and 3.0 × the ring at 64 KiB, 1.5 and 1.7 × at 1 MiB, 1.1 × at 4 MiB.
- `ring` (3 or more, larger): segment s is summed from rank s on: ((x_s + x_{s+1}) + …) + x_{s-1}, so rank s-1 ends up
  owning it; its bytes go round unchanged. 2(P-1)/P·S bytes a member (Patarasuk and Yuan 2009), pipelined by chunks.
The choice depends on bytes and members only, never on timing: the same inputs give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

SMALL = 32 * 1024  # bytes; a broadcast of more goes from rank to rank
STAR = 2 * 1024 * 1024  # bytes; on a link of 1 Gbit/s a ring would win earlier, from about 10 Gbit/s on it does not
# Bytes of a frame's payload at most. CPU of one of 2 members for 16 MiB: 34 ms by 256 KiB, 22 by 1 MiB, 20 by 2 and 4.
CHUNK = 2 * 1024 * 1024

Form = Literal["alone", "exchange", "star", "ring"]
Span = tuple[int, int]


def form(size: int, bytes_: int) -> Form:
    """How `size` members sum `bytes_` bytes."""
    if size == 1:
        return "alone"
    if size == 2:
        return "exchange"
    return "star" if bytes_ * (size - 1) <= STAR else "ring"


def segments(length: int, size: int) -> list[Span]:
    """`size` spans (start, stop) of `length` elements, as equal as can be, the longer ones first."""
    base, longer = divmod(length, size)
    bounds = [0]
    for index in range(size):
        bounds.append(bounds[-1] + base + (index < longer))
    return list(pairwise(bounds))


def chunks(span: Span, item_bytes: int) -> list[Span]:
    """Cuts a span into pieces of at most CHUNK bytes. An empty span has one empty piece: a frame still says it."""
    start, stop = span
    step = max(1, CHUNK // item_bytes)
    return [(at, min(at + step, stop)) for at in range(start, stop, step)] or [(start, start)]


@dataclass(frozen=True)
class Turn:
    """One phase of the ring: receive `segment` from the previous rank; `reduce` or take it; `forward` it or keep it."""

    phase: int
    segment: int
    reduce: bool
    forward: bool


def ring_turns(rank: int, size: int) -> list[Turn]:
    """The 2(P-1) phases of one rank: reduce-scatter, then all-gather.

    Before them the rank sends its own segment, number `rank`, as phase 0; what is forwarded goes out as the next phase.
    """
    return [
        Turn(
            phase=phase,
            segment=(rank - phase - 1) % size,
            reduce=phase < size - 1,
            forward=phase < 2 * (size - 1) - 1,
        )
        for phase in range(2 * (size - 1))
    ]
