"""How requests reach a model: rollout and batching, which a TrainingJob's `serve` and a ModelEndpoint share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ringyard_api.about import About, Bounds


@dataclass(frozen=True, kw_only=True)
class AbortSpec:
    """What takes a new version back."""

    error_rate: Annotated[
        float | None, About("Greatest fraction of failed requests.", Bounds(at_least=0, at_most=1))
    ] = None
    p99_milliseconds: Annotated[float | None, About("Greatest 99th percentile of latency.", Bounds(above=0))] = None


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    """How requests move to a new version."""

    steps: Annotated[
        tuple[Annotated[int, About("Percent of the requests.", Bounds(at_least=1, at_most=100))], ...],
        About(
            "Percent of the requests that the new version gets, step by step, 100 at the end.",
            Bounds(shortest=1, longest=20),
        ),
    ] = (100,)
    pause_seconds: Annotated[int, About("Seconds between two steps.", Bounds(at_least=0, at_most=604_800))] = 60
    abort_on: Annotated[AbortSpec | None, About("What takes the new version back; absent: nothing.")] = None


@dataclass(frozen=True, kw_only=True)
class BatchingSpec:
    """How requests are computed together."""

    max_batch_size: Annotated[int, About("Most rows in one batch.", Bounds(at_least=1, at_most=65_536))] = 32
    max_delay_milliseconds: Annotated[
        float, About("Longest wait for a fuller batch.", Bounds(at_least=0, at_most=10_000))
    ] = 2.0
