"""The seam between the gang and whoever hands out views. `attendance` (gRPC) and `roster` (in memory) are behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ringyard_trainer.collective.view import Directive, Epoch


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a member is, as its desk may tell it at any time. `phase`: a name of coordinator.proto's Progress.Phase."""

    phase: str = "LOADING"
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float = 0.0
    samples_per_second: float = 0.0
    best_metric: float = 0.0
    note: str = ""
    has_state: bool = False
    entered_op: int = 0
    in_view: Epoch | None = None
    view_size: int = 0


class Desk(Protocol):
    """One member's way to the coordinator. No call of it waits, none raises; it tries for as long as it takes."""

    def attend(self, address: str, standing: Callable[[], Standing], listener: Callable[[Directive], None]) -> None:
        """Starts to attend as the member at `address`. `standing` and `listener` are called on the desk's thread."""

    def poke(self) -> None:
        """The standing has changed in a way that should not wait."""

    def peer_lost(self, epoch: Epoch, rank: int, reason: str) -> None:
        """Accuses a peer."""

    def leaving(self, reason: str) -> None:
        """Asks for a view without this member."""

    def result(self, json: bytes) -> None:
        """Hands in the content of result.json."""

    def close(self) -> None:
        """Stops attending."""
