"""The verbs of a plan: what a shell (`kube`, `local`) can be told to do. Frozen data, no behaviour.

Every action is level-triggered and idempotent: to perform it twice is to perform it once.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringyard_api.jobstatus import JobStatus


@dataclass(frozen=True, kw_only=True)
class StartWorker:
    """Make incarnation `attempt` of worker `index` (a Pod `<job>-<index>-<attempt>`, locally an agent process)."""

    index: int
    attempt: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StopWorker:
    """End one incarnation: SIGTERM, and SIGKILL after the grace period."""

    index: int
    attempt: int
    uid: str
    reason: str
    grace_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class ForgetWorker:
    """Remove what a finished incarnation left (a finished Pod; locally its record, never its log)."""

    index: int
    attempt: int
    uid: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the coordinator answers an agent that reported an exit, or whose process hangs."""

    uid: str
    process_attempt: int  # the one that ended, or that hangs
    verb: str  # RESTART, LEAVE, FAIL, KILL, DONE: names of coordinator.v1 AgentOrder.Verb
    delay_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class FinishGroup:
    """The result stands: all members and agents end with 0."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class PublishModel:
    """Create the ModelEndpoint if missing, with the job's `serve` block; add the artifact to its wanted versions."""

    endpoint: str
    uri: str
    digest: str
    job: str


Action = StartWorker | StopWorker | ForgetWorker | Order | FinishGroup | PublishModel


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer of `plan`: what to do, the status to write once, why, and when to look again at the latest."""

    actions: tuple[Action, ...]
    status: JobStatus
    reason: str  # one sentence: the message of the summary condition
    wake_at: float | None  # Unix seconds; None = nothing is due by the clock
