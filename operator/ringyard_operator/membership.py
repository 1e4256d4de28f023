"""Who belongs to the ring: a state machine from attendance events to views (COLLECTIVE.md §Membership).

The coordinator feeds it what its streams say and asks `decide` what follows; the events change facts only, every
decision is made in `decide`, so it can be asked as often as one likes. It knows no gRPC, no process and no clock:
`now` is an argument, in seconds of one monotonic clock. Modelled on torchft's quorum (decide from facts, with a
reason).
"""

from __future__ import annotations

from collections.abc import Iterable

from ringyard_operator.views import Arrival, Attendee, Decision, Hang, View, Wanted

GATHER_SECONDS = 10.0  # after `minReplicas` attend, before the first view goes without the others
SETTLE_SECONDS = 0.3  # newcomers of one moment come in one view
LEAVE_SETTLE_SECONDS = 0.1  # leavers of one moment go in one view
REGATHER_SECONDS = 5.0  # a new coordinator waits for the members of the view that it finds
BREAK_SECONDS = 1.0  # an accused member whose stream lives: time for its stream to break before all reconnect
BREAK_SECONDS_MAX = 30.0
_ENDING = frozenset({"EVALUATING", "EXPORTING", "FINISHED"})
_NEVER_HANGING = frozenset({"LOADING", "EVALUATING", "EXPORTING", "CHECKPOINTING", "FINISHED"})


class Membership:
    """The members of one job as one coordinator of a given term sees them."""

    def __init__(self, term: int, wanted: Wanted) -> None:
        self.term = term
        self.wanted = wanted
        self.view: View | None = None  # in force; None before the first and while the group waits
        self.waiting = "no member attends yet"
        self.wait_urgent = False
        self.attendees: dict[int, Attendee] = {}
        self.hangs: dict[tuple[str, int], Hang] = {}
        self.gone: dict[tuple[str, int], tuple[int, float]] = {}  # (uid, process attempt) -> (index, lost at)
        self.last_view_of: dict[tuple[str, int], int] = {}
        self.view_changes = 0
        self.lost_members = 0
        self.over = False
        self._number = 0
        self._newest: dict[tuple[int, int], tuple[int, int]] = {}
        self._fenced: dict[int, str] = {}
        self._lost_from_view: list[str] = []
        self._suspects: tuple[int, float, str] | None = None  # (view number, reconnect at, why)
        self._reconnects = 0
        self._stall_reconnect = 0  # number of the view that a stall without a culprit was answered with
        self._enough_since: float | None = None

    # Events

    def want(self, wanted: Wanted) -> None:
        """Takes the plan's wish."""
        self.wanted = wanted

    def hello(self, key: int, arrival: Arrival, now: float) -> None:
        """A member begins to attend. The newer incarnation of a place fences the older, whichever comes first."""
        if arrival.age < self._newest.get(arrival.place, (-1, -1)):
            self._fenced[key] = f"a newer process holds the place of worker {arrival.worker}"
            return
        self._newest[arrival.place] = arrival.age
        for other in [a for a in self.attendees.values() if a.arrival.place == arrival.place]:
            if other.arrival.age < arrival.age or other.arrival.incarnation != arrival.incarnation:
                self._fenced[other.key] = f"a newer process holds the place of worker {arrival.worker}"
            self._drop(other, "was replaced by a newer process", now)
        identity = (arrival.incarnation, arrival.process_attempt)
        self.gone.pop(identity, None)
        self.attendees[key] = Attendee(
            key=key,
            arrival=arrival,
            joined_at=now,
            has_state=arrival.has_state,
            step=arrival.step,
            joined_view=arrival.last_epoch,
            progress_at=now,
        )

    def lost(self, key: int, now: float) -> None:
        """A stream broke: the member is out."""
        self._fenced.pop(key, None)
        attendee = self.attendees.get(key)
        if attendee is not None:
            identity = (attendee.arrival.incarnation, attendee.arrival.process_attempt)
            if not attendee.leaving:
                self.gone[identity] = (attendee.arrival.worker, now)
            self._drop(attendee, "was lost", now)

    def leaving(self, key: int, reason: str, now: float) -> None:
        """A member was told to go: it stays until the view without it."""
        attendee = self.attendees.get(key)
        if attendee is not None and not attendee.leaving:
            attendee.leaving, attendee.leaving_at = reason or "it was told to go", now

    def progress(
        self,
        key: int,
        *,
        phase: str,
        step: int,
        entered_op: int,
        in_view: tuple[int, int] | None,
        has_state: bool,
        now: float,
    ) -> None:
        """A member tells where it is."""
        attendee = self.attendees.get(key)
        if attendee is None:
            return
        if step != attendee.step or phase != attendee.phase:
            attendee.progress_at = now
        if step > attendee.step and phase == "TRAINING":
            attendee.stepped = True
            self._reconnects = self._stall_reconnect = 0
        attendee.phase, attendee.step, attendee.entered_op = phase, step, entered_op
        attendee.has_state = attendee.has_state or has_state
        if in_view is not None:
            attendee.joined_view = in_view

    def peer_lost(self, key: int, epoch: tuple[int, int], rank: int, reason: str, now: float) -> None:
        """A member reports a peer. Nobody is put out for that: who is dead loses its stream to us as well."""
        view = self.view
        if view is None or epoch != (view.term, view.number) or key not in self.attendees or self._suspects is not None:
            return
        accused = f"worker {view.members[rank].arrival.worker}" if rank < len(view.members) else f"rank {rank}"
        delay = min(BREAK_SECONDS * 2**self._reconnects, BREAK_SECONDS_MAX)
        why = f"worker {self.attendees[key].arrival.worker} cannot reach {accused}: {reason}"
        self._suspects = (view.number, now + delay, why)

    # Decisions

    def decide(self, now: float) -> Decision:
        """What follows from the facts at `now`. Asking twice gives a view only once."""
        fenced, self._fenced = tuple(sorted(self._fenced.items())), {}
        if self.over:
            return Decision(view=None, fenced=fenced, wake_at=None)
        self._blame_hanging(now)
        before = self.view
        wake_at = self._decide_first(now) if before is None else self._decide_next(before, now)
        made = self.view if self.view is not before else None
        if made is None and self.view is not None:
            wake_at = _earliest(wake_at, self._stall_clock())
        return Decision(view=made, fenced=fenced, wake_at=wake_at)

    def members_of(self, number: int) -> tuple[tuple[str, int], ...]:
        """(uid, process attempt) of everybody whose last view this was; newer views have taken the others away."""
        return tuple(process for process, last in self.last_view_of.items() if last == number)

    def candidates(self) -> list[Attendee]:
        """Who may be in the next view, in rank order."""
        chosen = [a for a in self.attendees.values() if not a.leaving and not self._hangs(a) and self._is_wanted(a)]
        return sorted(chosen, key=lambda a: a.arrival.place)

    def is_enough(self) -> bool:
        """Whether as many workers attend as the group needs to train."""
        return _workers(self.candidates()) >= self.wanted.min_replicas

    def _decide_first(self, now: float) -> float | None:
        candidates, wanted = self.candidates(), self.wanted
        count = _workers(candidates)
        if count < wanted.min_replicas or not candidates:
            self._enough_since = None
            self.waiting = f"{count} of {wanted.replicas} workers attend, minReplicas is {wanted.min_replicas}"
            return None
        if self._enough_since is None:
            self._enough_since = now
        returning = [a for a in candidates if a.arrival.last_epoch is not None]
        if self._number == 0 and returning:
            return self._decide_regathered(candidates, returning, now)
        ready_at = self._enough_since + (GATHER_SECONDS if self._number == 0 else SETTLE_SECONDS)
        if count >= wanted.replicas or now >= ready_at:
            self._issue(candidates, urgent=False, reason=f"{count} of {wanted.replicas} workers attend", now=now)
            return None
        self.waiting = f"{count} of {wanted.replicas} workers attend; the others have until the first view"
        return ready_at

    def _decide_regathered(self, candidates: list[Attendee], returning: list[Attendee], now: float) -> float | None:
        newest = max(a.arrival.last_epoch or (0, 0) for a in returning)
        back = [a for a in self.attendees.values() if a.arrival.last_epoch == newest]  # who leaves has come back too
        size = max(a.arrival.last_size for a in back) or self.wanted.replicas
        until = min(a.joined_at for a in back) + REGATHER_SECONDS
        if len(back) < size and now < until:
            self.waiting = f"a new coordinator: {len(back)} of {size} members have come back"
            return until
        whole = len(back) >= size
        reason = "a new coordinator" if whole else f"a new coordinator, {size - len(back)} members did not come back"
        self._issue(candidates, urgent=not whole, reason=reason, now=now)
        return None

    def _decide_next(self, view: View, now: float) -> float | None:
        candidates = self.candidates()
        keys, present = {a.key for a in candidates}, {m.key for m in view.members}
        if self._lost_from_view or not all(m.key in self.attendees for m in view.members):
            reason = "; ".join(self._lost_from_view) or "a member was lost"
            return self._shrink(candidates, urgent=True, reason=reason, now=now)
        if any(self._hangs(m) for m in view.members):
            names = ", ".join(str(m.arrival.worker) for m in view.members if self._hangs(m))
            return self._shrink(candidates, urgent=True, reason=f"worker {names} makes no progress", now=now)
        if self._suspects is not None and self._suspects[0] == view.number and now >= self._suspects[1]:
            self._reconnects += 1
            self._issue(candidates, urgent=True, reason=self._suspects[2], now=now)
            return None
        return self._decide_planned(view, candidates, present - keys, keys - present, now)

    def _decide_planned(
        self, view: View, candidates: list[Attendee], going: set[int], coming: set[int], now: float
    ) -> float | None:
        clocks = [self._suspects[1]] if self._suspects is not None else []
        if going:
            settled = min(self.attendees[key].leaving_at for key in going) + LEAVE_SETTLE_SECONDS
            if now >= settled:
                names = ", ".join(str(self.attendees[k].arrival.worker) for k in sorted(going))
                return self._shrink(candidates, urgent=False, reason=f"worker {names} leaves", now=now)
            clocks.append(settled)
        elif coming and view.members[view.leader].phase not in _ENDING:
            settled = min(self.attendees[key].joined_at for key in coming) + SETTLE_SECONDS
            if now >= settled:
                names = ", ".join(str(self.attendees[k].arrival.worker) for k in sorted(coming))
                self._issue(candidates, urgent=False, reason=f"worker {names} joins", now=now)
                return None
            clocks.append(settled)
        return min(clocks, default=None)

    def _shrink(self, candidates: list[Attendee], *, urgent: bool, reason: str, now: float) -> float | None:
        if candidates and _workers(candidates) >= self.wanted.min_replicas:
            self._issue(candidates, urgent=urgent, reason=reason, now=now)
            return None
        self.view, self.wait_urgent, self._enough_since = None, urgent, None
        self._lost_from_view, self._suspects = [], None
        self.view_changes += 1
        return self._decide_first(now)

    def _issue(self, candidates: list[Attendee], *, urgent: bool, reason: str, now: float) -> None:
        if self.view is not None:
            self.view_changes += 1
        self._number += 1
        leader = next((rank for rank, a in enumerate(candidates) if a.has_state), 0)
        self.view = View(
            term=self.term,
            number=self._number,
            members=tuple(candidates),
            leader=leader,
            urgent=urgent,
            reason=reason,
            issued_at=now,
        )
        for a in candidates:
            self.last_view_of[(a.arrival.incarnation, a.arrival.process_attempt)] = self._number
        self.waiting, self.wait_urgent = "", False
        self._lost_from_view, self._suspects = [], None

    # Hangs

    def _stalled_since(self) -> float | None:
        """Since when the members of the view should have made a step and did not; None where that is no question."""
        view = self.view
        if view is None or any(m.phase in _NEVER_HANGING for m in view.members):
            return None
        training = [m for m in view.members if m.phase == "TRAINING"]
        if not any(m.stepped for m in training):
            return None
        return max([view.issued_at, *(m.progress_at for m in training)])

    def _stall_clock(self) -> float | None:
        since = self._stalled_since()
        return None if since is None else since + self.wanted.stall_seconds

    def _blame_hanging(self, now: float) -> None:
        """Blames who does not follow: into the view that others have joined, else into the op that others wait in.

        Where all have entered the same op nobody can be told apart: all reconnect, and who hangs does not come along.
        """
        view, since = self.view, self._stalled_since()
        if view is None or since is None or now < since + self.wanted.stall_seconds:
            return
        training = [m for m in view.members if m.phase == "TRAINING"]
        epoch = (view.term, view.number)
        blamed = [m for m in training if m.joined_view != epoch]
        if not blamed or len(blamed) == len(view.members):
            lowest = min(m.entered_op for m in training)
            blamed = [m for m in training if m.entered_op == lowest]
        if len(blamed) == len(view.members) and self._stall_reconnect == 0:
            self._stall_reconnect = view.number
            seconds = f"{self.wanted.stall_seconds:.0f}"
            self._suspects = (view.number, now, f"no member has made a step for {seconds} s")
            return
        self._stall_reconnect = 0
        for member in blamed:
            self._hang(member, since, now)

    def _hang(self, member: Attendee, since: float, now: float) -> None:
        arrival = member.arrival
        self.hangs[(arrival.incarnation, arrival.process_attempt)] = Hang(
            uid=arrival.incarnation,
            index=arrival.worker,
            process_attempt=arrival.process_attempt,
            since=since,
            reason=f"worker {arrival.worker} has made no step for {now - since:.0f} s while the others wait for it",
        )

    def _hangs(self, attendee: Attendee) -> bool:
        return (attendee.arrival.incarnation, attendee.arrival.process_attempt) in self.hangs

    # Small facts

    def _is_wanted(self, attendee: Attendee) -> bool:
        indices = self.wanted.indices
        return indices is None or attendee.arrival.worker in indices

    def _drop(self, attendee: Attendee, why: str, now: float) -> None:
        del self.attendees[attendee.key]
        if self.view is not None and self.view.rank_of(attendee.key) is not None:
            self._lost_from_view.append(f"worker {attendee.arrival.worker} {why}")
            self.lost_members += 1


def _workers(attendees: Iterable[Attendee]) -> int:
    return len({a.arrival.worker for a in attendees})


def _earliest(*times: float | None) -> float | None:
    return min((t for t in times if t is not None), default=None)
