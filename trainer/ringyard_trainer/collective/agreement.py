"""Who has the newest state, and who is behind, after a change of view. The training loop asks; it knows no wire.

Each member brings (has state, completed steps); all see the same vector, so all decide the same.
A member can be at most one step ahead: who completed the op of a step while others lost it
(COLLECTIVE.md §Losing no step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """`source` hands its state to those in `behind`; None: nobody has state, all start afresh."""

    source: int | None
    step: int
    behind: tuple[int, ...]


def standing(rank: int, size: int, *, has_state: bool, step: int) -> list[int]:
    """What this member puts into the vector that is summed: 2·`size` integers, its own pair set."""
    vector = [0] * (2 * size)
    vector[2 * rank : 2 * rank + 2] = [int(has_state), step if has_state else 0]
    return vector


def agree(vector: Sequence[int]) -> Agreement:
    """Reads the summed vector: the lowest rank with the highest step is the source."""
    pairs = [(int(vector[i]), int(vector[i + 1])) for i in range(0, len(vector), 2)]
    steps = [step for has_state, step in pairs if has_state]
    if not steps:
        return Agreement(source=None, step=0, behind=tuple(range(len(pairs))))
    newest = max(steps)
    behind = tuple(rank for rank, pair in enumerate(pairs) if pair != (1, newest))
    return Agreement(source=pairs.index((1, newest)), step=newest, behind=behind)
