"""The seam between the gang and whatever carries its frames. `grpc_transport` and `memory` are the two peers behind it.

Both pass the same contract tests (tests/trainer/test_collective_transports.py).
"""

from __future__ import annotations

from typing import Protocol

from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import View


class Links(Protocol):
    """The open connections of one view."""

    def send(self, rank: int, message: bytes) -> None:
        """Hands a frame over, in order, without waiting. Never raises: a broken link fails the session."""


class Transport(Protocol):
    """One member's end."""

    @property
    def address(self) -> str:
        """Where peers reach this member."""

    def open(self, view: View, session: Session) -> Links:
        """Enters the view and connects to every other member of it; waits until each of them has entered it too.

        Frames go to `session.deliver`, breaks to `session.fail`. The links end with the session: all that was sent
        still arrives after `session.close`, nothing more after `session.fail`. Raises `ViewLost` if it fails meanwhile.
        """

    def close(self) -> None:
        """Ends everything within a few seconds, whatever the peers do."""
