"""What an agent does about its training process: pure rules over the coordinator's orders, exits, SIGTERM and time.

`agent` feeds it and performs the steps that it answers. It knows no process, no file and no gRPC; times are seconds
of one clock (any), given as arguments. Orders are level-triggered: one that is repeated, or that comes late, changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ringyard_api.launch import EXIT_RESULT_STANDS, EXIT_TERMINATED

GRACE_SECONDS = 30.0  # that a worker has from SIGTERM on, where nobody says otherwise: as a Pod
DONE_GRACE_SECONDS = 30.0  # for the process to end by itself once the result stands

Do = Literal["start", "terminate", "kill", "end"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """The coordinator's answer to a report: coordinator.v1 AgentOrder in plain data."""

    verb: str
    process_attempt: int = 0
    delay_seconds: float = 0.0
    reason: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do now. `exit_code` goes with `end`, `environment` with `start`."""

    do: Do
    exit_code: int = 0
    reason: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class AgentRules:
    """The state of one agent. Feed it with `ordered`, `started`, `exited`, `told`, `orphaned`; ask `due` what to do
    now. `grace` is what the worker has from SIGTERM on.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        # for the process to leave at a step boundary with a checkpoint; the rest is for our own end
        self._grace = max(grace - 5.0, grace * 5 / 6)
        self.process_attempt = 0
        self.running = False
        self.ever_started = False
        self.exit_code = 0
        self.exited_at = 0.0
        self.leaving: int | None = None  # the exit code to end with, once nothing runs
        self.leave_reason = ""
        self._kill_at: float | None = None  # of a process that was asked to go and does not
        self._terminate_at: float | None = None
        self._kill_now = False
        self._terminate_now = False
        self._start: Order | None = None
        self._start_at = 0.0

    def ordered(self, order: Order, now: float) -> None:
        """Takes an order of the coordinator."""
        if self.leaving is not None:
            return
        if order.verb == "RESTART":
            self._take_restart(order, now)
        elif order.verb == "KILL" and self.running and order.process_attempt == self.process_attempt:
            self._kill_now = True
        elif order.verb == "LEAVE":
            self._leave(EXIT_TERMINATED, order.reason, now)
        elif order.verb == "FAIL":
            self.leaving = self.exit_code or 1
            self.leave_reason = order.reason
            self._kill_now = self.running
        elif order.verb == "DONE":
            self.leaving, self.leave_reason = EXIT_RESULT_STANDS, order.reason
            self._terminate_at = now + DONE_GRACE_SECONDS

    def _take_restart(self, order: Order, now: float) -> None:
        first = not self.ever_started and order.process_attempt >= 0
        newer = self.ever_started and order.process_attempt > self.process_attempt
        if self.running or not (first or newer):
            return
        if self._start is not None and self._start.process_attempt >= order.process_attempt:
            if self._start.process_attempt == order.process_attempt:
                self._start = order  # a newer environment of the same start; its time stays
            return
        self._start, self._start_at = order, now + max(0.0, order.delay_seconds)

    def _leave(self, code: int, reason: str, now: float) -> None:
        self.leaving, self.leave_reason, self._start = code, reason, None
        self._terminate_now = self.running
        self._kill_at = now + self._grace

    def told(self, now: float) -> None:
        """SIGTERM came to the agent: it passes it on once, and ends with 143 when the process is gone."""
        if self.leaving == EXIT_TERMINATED:
            return
        self._leave(EXIT_TERMINATED, "told to go by SIGTERM", now)

    def orphaned(self, seconds: float, now: float) -> None:
        """No coordinator has answered for so long: the process writes its checkpoint, then the worker ends."""
        if self.leaving is not None:
            return
        code = EXIT_TERMINATED if self.running or not self.ever_started or self.exit_code else EXIT_RESULT_STANDS
        self._leave(code, f"no coordinator has answered for {seconds:.0f} s", now)

    def started(self, process_attempt: int) -> None:
        """The process was started."""
        self.process_attempt, self.running, self.ever_started = process_attempt, True, True
        self._start = None
        self._terminate_now = self.leaving == EXIT_TERMINATED  # SIGTERM came while it was being started

    def exited(self, exit_code: int, at: float) -> None:
        """The process ended. `at` is Unix seconds: it goes into the report as it is."""
        self.running, self.exit_code, self.exited_at = False, exit_code, at

    def due(self, now: float) -> Step | None:
        """The next thing to do now, or None. Ask again after having done it."""
        if self.leaving is not None and not self.running:
            return Step(do="end", exit_code=self.leaving, reason=self.leave_reason)
        if self._start is not None and not self.running and now >= self._start_at:
            return Step(do="start", environment=self._start.environment, reason=self._start.reason)
        if self._kill_now or (self._kill_at is not None and self.running and now >= self._kill_at):
            self._kill_now, self._kill_at = False, None
            return Step(do="kill")
        if self._terminate_now or (self._terminate_at is not None and self.running and now >= self._terminate_at):
            if self._terminate_at is not None and not self._terminate_now:
                self._kill_at = now + self._grace
            self._terminate_now, self._terminate_at = False, None
            return Step(do="terminate")
        return None

    @property
    def next_attempt(self) -> int:
        """The process attempt that a due start would make."""
        return self._start.process_attempt if self._start is not None else self.process_attempt

    def next_clock(self) -> float | None:
        """When `due` may have something to do by the clock alone; None if never."""
        clocks = [self._kill_at, self._terminate_at] if self.running else []
        if self._start is not None and not self.running:
            clocks.append(self._start_at)
        times = [clock for clock in clocks if clock is not None]
        return min(times) if times else None
