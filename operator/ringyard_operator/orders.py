"""What the coordinator answers an agent: exits are gathered, the first failure of a view is told from its consequences.

The coordinator's servicer feeds it with reports and with the orders of the plan; `scripts` decides when a `command`
gang starts together. Pure: `now` is an argument (seconds of one monotonic clock, `wall` is Unix time and only
recorded). What a failure costs is not decided here but in `restart`. An answer is level-triggered: a report that is
repeated gets the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringyard_api.launch import EXIT_TERMINATED

from ringyard_operator.actions import Order
from ringyard_operator.observed import ExitSeen

SETTLE_SECONDS = 0.3  # exits of one view that come within it are compared: the cause first, its consequences after
SCRIPT_SETTLE_SECONDS = 3.0  # a script learns of a dead peer before we do, and may die of it first
SILENT_SECONDS = 2.5  # an agent reports every second
FINISH_SECONDS = 20.0  # for a process to end by itself once the result stands


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report of an agent (coordinator.v1 AgentReport)."""

    index: int
    uid: str
    attempt: int
    process_attempt: int
    running: bool
    exit_code: int = 0
    exited_at: float = 0.0  # Unix seconds; 0 = no process was started yet
    last_lines: tuple[str, ...] = ()
    out_of_memory: bool = False
    terminating: bool = False
    host: str = ""  # where peers reach this worker
    result: Mapping[str, Any] | None = None  # what a script that ended with 0 has left

    @property
    def process(self) -> tuple[str, int]:
        """Which process it speaks of."""
        return (self.uid, self.process_attempt)

    @property
    def is_new(self) -> bool:
        """No process was started yet."""
        return not self.running and self.exited_at == 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One order to an agent (coordinator.v1 AgentOrder)."""

    verb: str
    process_attempt: int = 0
    delay_seconds: float = 0.0
    reason: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Exit:
    """An exit on its way to the plan."""

    seen: ExitSeen
    reported_at: float
    published: bool = False


class Agents:
    """The agents of one job, as one coordinator hears them."""

    def __init__(self) -> None:
        self.incarnations: Mapping[
            int, tuple[str, int]
        ] = {}  # newest (uid, attempt) of each index, as the plan knows it
        self.reports: dict[str, Report] = {}
        self.heard_at: dict[str, float] = {}
        self.script = False
        self._exits: dict[tuple[str, int], _Exit] = {}
        self._orders: dict[tuple[str, int], Order] = {}
        self._killed: dict[tuple[str, int], bool] = {}  # value: it was for a hang
        self._ordered_at: dict[tuple[str, int], float] = {}
        self._incidents: dict[int, tuple[str, int]] = {}
        self._finish: tuple[str, float] | None = None

    def order(self, order: Order, now: float) -> None:
        """Takes an order of the plan; the agent gets it with its next report. The same order again changes nothing."""
        key = (order.uid, order.process_attempt)
        if order.verb == "KILL" and key in self._exits:
            return
        known = self._orders.get(key)
        if known is not None and (known.verb == order.verb or known.verb in ("FAIL", "LEAVE", "DONE")):
            return
        self._orders[key], self._ordered_at[key] = order, now
        if order.verb == "KILL":
            self._killed.setdefault(key, True)

    def finish(self, reason: str, now: float) -> None:
        """The result stands: whoever has ended is done."""
        if self._finish is None:
            self._finish = (reason, now)

    @property
    def finishing(self) -> bool:
        """Whether the end was announced."""
        return self._finish is not None

    def fenced(self, report: Report) -> bool:
        """Whether a newer incarnation holds the index."""
        return self.outdated(report.index, report.attempt)

    def outdated(self, index: int, attempt: int) -> bool:
        """Whether the plan knows a newer attempt of this index."""
        newest = self.incarnations.get(index)
        return newest is not None and attempt < newest[1]

    def report(self, report: Report, *, view: int, wall: float, now: float) -> Answer:
        """Takes one report and answers it. `view` is the last view (of a script: gang) that the process was in."""
        if self.fenced(report):
            return Answer(verb="LEAVE", reason=f"a newer worker holds index {report.index}")
        self.reports[report.uid], self.heard_at[report.uid] = report, now
        self._forget_older(report)
        if report.running:
            return self._answer_running(report, now)
        if not report.is_new:
            self._note_exit(report, view=view, wall=wall, now=now)
        if self._finish is not None:
            return Answer(verb="DONE", process_attempt=report.process_attempt, reason=self._finish[0])
        if report.terminating:
            return Answer(verb="LEAVE", reason="told to go")
        if report.is_new:
            verb = "CONTINUE" if self.script else "RESTART"
            return Answer(verb=verb, process_attempt=0, reason="first start")
        return self._answer_ended(report, now)

    def _answer_running(self, report: Report, now: float) -> Answer:
        order = self._orders.get(report.process)
        late = self._finish is not None and now >= self._finish[1] + FINISH_SECONDS
        if (order is not None and order.verb == "KILL") or report.process in self._killed or late:
            reason = order.reason if order is not None else "its gang is over"
            return Answer(verb="KILL", process_attempt=report.process_attempt, reason=reason)
        if order is not None and order.verb in ("LEAVE", "FAIL"):
            return Answer(verb=order.verb, process_attempt=report.process_attempt, reason=order.reason)
        return Answer(verb="CONTINUE", process_attempt=report.process_attempt)

    def _answer_ended(self, report: Report, now: float) -> Answer:
        order = self._orders.get(report.process)
        if order is None or order.verb == "KILL":
            return Answer(verb="CONTINUE", process_attempt=report.process_attempt, reason="not decided yet")
        if order.verb != "RESTART":
            return Answer(verb=order.verb, process_attempt=report.process_attempt, reason=order.reason)
        if self.script:
            return Answer(verb="CONTINUE", process_attempt=report.process_attempt, reason="the gang starts together")
        return Answer(
            verb="RESTART",
            process_attempt=report.process_attempt + 1,
            delay_seconds=self.remaining_delay(report, now),
            reason=order.reason,
        )

    def remaining_delay(self, report: Report, now: float) -> float:
        """Seconds until an ordered restart of an ended process is due; 0 without an order."""
        order = self._orders.get(report.process)
        if order is None:
            return 0.0
        return max(0.0, self._ordered_at[report.process] + order.delay_seconds - now)

    def may_restart(self, report: Report) -> bool:
        """Whether the plan has ordered the restart of the process that a report says has ended."""
        order = self._orders.get(report.process)
        return order is not None and order.verb == "RESTART"

    def kill(self, process: tuple[str, int]) -> None:
        """Ends a process that is no culprit: its gang starts anew."""
        self._killed.setdefault(process, False)

    def is_killed(self, process: tuple[str, int]) -> bool:
        """Whether a process is to be killed, for a hang or for its gang."""
        return process in self._killed

    def had_incident(self, view: int) -> bool:
        """Whether the first failure of a view (gang) has been told to the plan."""
        return view in self._incidents

    def silent(self, uid: str) -> bool:
        """Whether an agent that reported before does not any more while others do (a pause of our own is none)."""
        heard = self.heard_at.get(uid)
        return heard is not None and max(self.heard_at.values()) - heard > SILENT_SECONDS

    def forget(self, uid: str) -> None:
        """The worker is gone for good."""
        self.reports.pop(uid, None)
        self.heard_at.pop(uid, None)
        for table in (self._exits, self._orders, self._killed, self._ordered_at):
            for key in [key for key in table if key[0] == uid]:
                del table[key]

    def publish(self, members_of: Callable[[int], tuple[tuple[str, int], ...]], now: float) -> tuple[ExitSeen, ...]:
        """The exits that the plan may decide on, oldest first. `members_of` names the processes of a view (gang).

        Exits of one view are held back until all of them can be known, so that the cause is found: among those of the
        window a signal or lack of memory comes before an exit of 1–127, which is how a script answers a dead peer.
        """
        for view in sorted({e.seen.view for e in self._exits.values() if not e.published}):
            self._settle(view, members_of(view), now)
        published = [e.seen for e in self._exits.values() if e.published]
        return tuple(sorted(published, key=lambda e: (e.at, e.index, e.process_attempt)))

    def wake_at(self) -> float | None:
        """When a held exit becomes due at the latest."""
        settle = SCRIPT_SETTLE_SECONDS if self.script else SETTLE_SECONDS
        return min((e.reported_at + settle for e in self._exits.values() if not e.published), default=None)

    def _settle(self, view: int, members: tuple[tuple[str, int], ...], now: float) -> None:
        held = [e for e in self._exits.values() if e.seen.view == view and not e.published]
        failures = [e for e in held if _is_failure(e.seen)]
        for entry in held:
            if entry not in failures:
                entry.published = True
        if not failures:
            return
        settle = SCRIPT_SETTLE_SECONDS if self.script else SETTLE_SECONDS
        all_known = all(m in self._exits for m in members)
        if view > 0 and not all_known and now < min(e.reported_at for e in failures) + settle:
            return
        failures.sort(key=lambda e: (not _is_violent(e.seen), e.seen.at, e.seen.index))
        worker_lost = self.script and any(self._is_lost(uid) for uid, _ in members)
        for entry in failures:
            process = (entry.seen.uid, entry.seen.process_attempt)
            first = view == 0 or (self._incidents.setdefault(view, process if not worker_lost else ("", -1)) == process)
            entry.seen, entry.published = replace(entry.seen, consequence=not first), True

    def _is_lost(self, uid: str) -> bool:
        report = self.reports.get(uid)
        replaced = bool(self.incarnations) and all(uid != newest for newest, _ in self.incarnations.values())
        return report is None or report.terminating or self.silent(uid) or replaced

    def _note_exit(self, report: Report, *, view: int, wall: float, now: float) -> None:
        if report.process in self._exits:
            return
        seen = ExitSeen(
            uid=report.uid,
            index=report.index,
            attempt=report.attempt,
            process_attempt=report.process_attempt,
            exit_code=report.exit_code,
            at=min(report.exited_at, wall),
            last_lines=report.last_lines,
            out_of_memory=report.out_of_memory,
            hang=self._killed.get(report.process, False),
            consequence=self._killed.get(report.process) is False,
            told=report.terminating,
            view=view,
        )
        self._exits[report.process] = _Exit(seen=seen, reported_at=now)

    def _forget_older(self, report: Report) -> None:
        for key in [k for k in self._exits if k[0] == report.uid]:
            if key[1] < report.process_attempt or (report.running and key[1] <= report.process_attempt):
                for table in (self._exits, self._orders, self._killed, self._ordered_at):
                    table.pop(key, None)


def _is_failure(seen: ExitSeen) -> bool:
    return seen.exit_code not in (0, EXIT_TERMINATED) and not seen.told and not seen.consequence


def _is_violent(seen: ExitSeen) -> bool:
    return seen.exit_code >= 128 or seen.out_of_memory or seen.hang
