"""One job's group behind its streams: passes events to the cores, and what they decide to the members.

The servicer calls it with what it hears; `job.Coordinator` asks it what is seen. It owns the timer of the membership
core and the last thing that each member was told. It decides nothing itself, and lets nothing be decided while the
Lease is not held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from ringyard_api.protos import coordinator_pb2 as pb

from ringyard_operator.coordinator import messages
from ringyard_operator.membership import Membership
from ringyard_operator.orders import Agents, Answer, Report
from ringyard_operator.scripts import Scripts
from ringyard_operator.views import Arrival, Wanted

_HELD_SECONDS = 0.5  # how often a group that may not decide looks whether it may again


class Outbox:
    """What waits to be sent to one member."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[pb.Directive | None] = asyncio.Queue()
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.told: object = None  # the last standing that was sent

    async def get(self) -> pb.Directive | None:
        """The next directive; None = end the stream."""
        return await self._queue.get()

    def put(self, directive: pb.Directive) -> None:
        """Queues a directive."""
        self._queue.put_nowait(directive)

    def close(self) -> None:
        """Ends the stream after what is queued."""
        self._queue.put_nowait(None)

    def refuse(self, code: grpc.StatusCode, sentence: str) -> None:
        """Ends the stream with an error."""
        self.refusal = (code, sentence)
        self.close()


class Group:
    """Members, agents and their last words. Everything runs on the event loop that `changed` belongs to."""

    def __init__(
        self,
        *,
        term: int,
        secret: bytes,
        clock: Callable[[], float],
        wall: Callable[[], float],
        held: Callable[[], bool],
        pick_port: Callable[[int], int],
    ) -> None:
        self.term = term
        self.secret = secret
        self.membership = Membership(term, Wanted(replicas=1))
        self.agents = Agents()
        self.scripts = Scripts(self.agents, pick_port)
        self.script = False
        self.result: Mapping[str, Any] | None = None
        self.progress_of: dict[int, pb.Progress] = {}
        self.last_progress: pb.Progress | None = None  # of the leader, kept while nobody leads
        self.note = ""
        self.first_step_at: float | None = None
        self.below_since: float | None = None
        self.changed = asyncio.Event()
        self.clock, self.wall, self.held = clock, wall, held
        self.closed = False
        self._outboxes: dict[int, Outbox] = {}
        self._finish = ""
        self._timer: asyncio.TimerHandle | None = None

    # Members

    def hello(self, key: int, arrival: Arrival, outbox: Outbox) -> None:
        """A member attends."""
        self._outboxes[key] = outbox
        if self._finish:
            outbox.put(pb.Directive(finish=pb.Finish(reason=self._finish)))
        if self.agents.outdated(arrival.worker, arrival.attempt):
            sentence = f"a newer worker holds index {arrival.worker}"
            outbox.put(pb.Directive(fenced=pb.Fenced(reason=sentence)))
            outbox.close()
            return
        self.membership.hello(key, arrival, self.clock())
        self.settle()

    def lost(self, key: int) -> None:
        """A member's stream has ended."""
        self.progress_of.pop(key, None)
        if self._outboxes.pop(key, None) is not None:
            self.membership.lost(key, self.clock())
            self.settle()

    def leaving(self, key: int, reason: str) -> None:
        """A member asks for a view without it."""
        self.membership.leaving(key, reason, self.clock())
        self.settle()

    def peer_lost(self, key: int, epoch: tuple[int, int], rank: int, reason: str) -> None:
        """A member cannot reach a peer."""
        self.membership.peer_lost(key, epoch, rank, reason, self.clock())
        self.settle()

    def progress(self, key: int, progress: pb.Progress) -> None:
        """A member tells where it is."""
        self.progress_of[key] = progress
        phase = pb.Progress.Phase.Name(progress.phase)
        if phase == "TRAINING" and progress.step > 0 and self.first_step_at is None:
            self.first_step_at = self.wall()
        if progress.note:
            self.note = progress.note
        self.membership.progress(
            key,
            phase=phase,
            step=progress.step,
            entered_op=progress.entered_op,
            in_view=messages.epoch_of(progress.in_view) if progress.HasField("in_view") else None,
            has_state=progress.has_state,
            now=self.clock(),
        )
        self.settle()
        if self.membership.view is None and progress.total_steps:
            self._remember(progress)  # all leave at once: the last words come when nobody leads any more

    def take_result(self, key: int, result: Mapping[str, Any]) -> None:
        """The leader has written result.json."""
        view = self.membership.view
        if view is not None and view.rank_of(key) is not None:
            self.result = result
            self.changed.set()

    # Agents

    def report(self, report: Report) -> Answer:
        """An agent reports; its order. Who may not decide takes nothing in: the report comes again in a second."""
        now = self.clock()
        if not self.held():
            return Answer(verb="CONTINUE", process_attempt=report.process_attempt, reason="the coordinator is changing")
        if self.script:
            view = self.scripts.number_of(report.process)
        else:
            view = self.membership.last_view_of.get(report.process, 0)
        before = self.agents.reports.get(report.uid)
        answer = self.agents.report(report, view=view, wall=self.wall(), now=now)
        if self.script:
            answer = self.scripts.answer(report, answer, self.membership.wanted, now)
        if before != report:
            self.changed.set()
        return answer

    # From the plan

    def want(self, wanted: Wanted, script: bool) -> None:
        """Takes the plan's wish."""
        if wanted == self.membership.wanted and script == self.script:
            return
        self.script = self.agents.script = script
        self.membership.want(wanted)
        if script and self.held():
            self.scripts.advance(wanted, self.clock())
        self.settle()

    def finish(self, reason: str) -> None:
        """The result stands: tells all members and agents to end with 0."""
        if self._finish:
            return
        self._finish = reason
        self.membership.over = True
        self.agents.finish(reason, self.clock())
        self.tell_all(pb.Directive(finish=pb.Finish(reason=reason)))
        self.changed.set()

    def tell_all(self, directive: pb.Directive) -> None:
        """Sends one directive to every member that attends."""
        for outbox in self._outboxes.values():
            outbox.put(directive)

    def settle(self) -> None:
        """Asks the core what follows, tells the members, and sets the timer for the next look."""
        if self.closed:
            return
        now = self.clock()
        if not self.held():
            self._look_again(_HELD_SECONDS)
            return
        decision = self.membership.decide(now)
        for key, sentence in decision.fenced:
            outbox = self._outboxes.get(key)
            if outbox is not None:
                outbox.put(pb.Directive(fenced=pb.Fenced(reason=sentence)))
                outbox.close()
        if not self.membership.over:
            self._tell_standing()
        self._note_below(now)
        self._remember_leader()
        self._look_again(None if decision.wake_at is None else max(0.01, decision.wake_at - now))
        self.changed.set()

    def close(self) -> None:
        """Ends all streams and the clock: nothing is decided here any more. Members go on, and dial again."""
        self.closed = True
        self._look_again(None)
        for outbox in self._outboxes.values():
            outbox.refuse(grpc.StatusCode.UNAVAILABLE, "this coordinator leads no more: dial again")

    def _look_again(self, delay: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self.settle)

    def _tell_standing(self) -> None:
        """Each member learns what holds for it now, if it has not been told yet."""
        view = self.membership.view
        for key, outbox in self._outboxes.items():
            if key not in self.membership.attendees:
                if outbox.told != "gone":
                    outbox.told = "gone"
                    outbox.close()
                continue
            if view is not None and view.rank_of(key) is not None:
                standing: object = (view.term, view.number)
                directive = messages.view_directive(view, key, self.secret)
            else:
                attendee = self.membership.attendees[key]
                reason = attendee.leaving or self.membership.waiting or "the next view comes with a step boundary"
                urgent = self.membership.wait_urgent or (view is not None and view.urgent)
                standing, directive = ("wait", reason, urgent), messages.wait_directive(reason, urgent)
            if outbox.told != standing:
                outbox.told = standing
                outbox.put(directive)

    def _note_below(self, now: float) -> None:
        below = self.membership.view is None and not self.membership.is_enough()
        if not below:
            self.below_since = None
        elif self.below_since is None:
            self.below_since = self.wall()

    def _remember_leader(self) -> None:
        view = self.membership.view
        if view is not None:
            progress = self.progress_of.get(view.members[view.leader].key)
            if progress is not None:
                self.last_progress = progress

    def _remember(self, progress: pb.Progress) -> None:
        if self.last_progress is None or progress.step > self.last_progress.step:
            self.last_progress = progress
