"""What the coordinator has said and the gang has not yet obeyed. The desk's thread puts, the loop's thread takes.

Rules: a view that is not newer than the last one entered is ignored (epochs only rise, so an old coordinator is
refused); a newer word replaces an older one; an urgent word, and any word while the ring is still being connected,
breaks the present session. It knows no wire.
"""

from __future__ import annotations

import threading

from ringyard_trainer.collective.outcomes import Fenced, Finished, Outcome, Terminated
from ringyard_trainer.collective.session import Session
from ringyard_trainer.collective.view import Checkpoint, Directive, Epoch, Fence, Finish, View, Wait


class Inbox:
    """The newest word, and who waits for it."""

    def __init__(self) -> None:
        self.leaving: str | None = None  # set by a signal handler: plain assignment
        self._changed = threading.Condition()
        self._next: View | None = None
        self._waiting: str | None = None
        self._outcome: Outcome | None = None
        self._newest = Epoch(0, 0)
        self._session: Session | None = None
        self._connected = False  # whether the present session's ring is complete
        self._checkpoint = False

    @property
    def pending(self) -> bool:
        """Whether there is a word that ends the present view."""
        return self._next is not None or self._waiting is not None or self._outcome is not None

    def put(self, directive: Directive) -> Session | None:
        """Takes a word in; gives the session that it breaks at once, if any."""
        with self._changed:
            broken = self._session if self._take_in(directive) else None
            self._changed.notify_all()
        return broken

    def _take_in(self, directive: Directive) -> bool:
        """Whether it breaks the present session."""
        if isinstance(directive, Checkpoint):
            self._checkpoint = True
            return False
        if isinstance(directive, Fence):
            self._outcome = Fenced(directive.reason)
            return True
        if isinstance(directive, Finish):
            self._outcome = Finished(directive.reason)
            return True
        if isinstance(directive, Wait):
            self._next, self._waiting = None, directive.reason
            return directive.urgent or not self._connected
        if directive.epoch <= self._newest:
            return False
        self._newest = directive.epoch
        self._next, self._waiting = directive, None
        return directive.urgent or not self._connected

    def next_view(self) -> View:
        """Waits for a view newer than the last. Raises the outcome, where there is one."""
        with self._changed:
            while True:
                if self._outcome is not None:
                    raise self._outcome
                if self._next is not None and self.leaving is None:
                    view, self._next, self._connected = self._next, None, False
                    return view
                in_a_ring = self._session is not None and self._waiting is None
                if self.leaving is not None and self._next is None and not in_a_ring:
                    raise Terminated(self.leaving)
                self._changed.wait()

    def enter(self, session: Session) -> bool:
        """`session` is the present one; False where a newer word overtook its view."""
        with self._changed:
            self._session = session
            return not self.pending

    def joined(self) -> None:
        """The present session's ring is complete: from now on a planned word waits for the step boundary."""
        with self._changed:
            self._connected = True

    def end(self, outcome: Outcome) -> None:
        """The member's life is over."""
        with self._changed:
            self._outcome = self._outcome or outcome
            self._changed.notify_all()

    def wake(self) -> None:
        """Looks again at what changed without a word."""
        with self._changed:
            self._changed.notify_all()

    def wait_until_asked_out(self, seconds: float) -> bool:
        """Whether the coordinator answered to `leave` within that time. A view that still has us in it is no answer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is not None or self._outcome is not None, seconds)

    def take_checkpoint_request(self) -> bool:
        """Reads and resets the request."""
        with self._changed:
            asked, self._checkpoint = self._checkpoint, False
        return asked
