"""What is true in the world, sorted before anything is decided: the facts that `plan` reads.

`kube.observe` and `local.observe` gather them; `plan`, `restart` and `membership` read them. Nothing here knows
whether a worker is a Pod or a process. Times are Unix seconds, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ringyard_api.reasons import Reason


class WorkerPhase(StrEnum):
    """Where one incarnation of a worker is, as a Pod's phase would say it."""

    PENDING = "Pending"  # asked for, not yet running
    RUNNING = "Running"
    TERMINATING = "Terminating"  # told to go, not gone
    SUCCEEDED = "Succeeded"  # exit 0
    FAILED = "Failed"  # any other end
    LOST = "Lost"  # its node does not answer; locally never


class GoneBecause(StrEnum):
    """Why a worker went that did not fail by itself: such an end is never counted."""

    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    DELETED = "Deleted"  # by somebody else than us
    NODE_LOST = "NodeLost"
    NODE_REFUSED = "NodeRefused"  # the kubelet did not take it: the node changed after the scheduler had looked
    TOLD = "Told"  # by us: scale down, suspend, stop, the job's end


@dataclass(frozen=True, kw_only=True)
class WorkerSeen:
    """One incarnation of one worker index (a Pod, or an agent process)."""

    index: int
    attempt: int
    uid: str
    phase: WorkerPhase
    created_at: float
    finished_at: float | None = None
    exit_code: int | None = None  # 128 + signal when a signal ended it
    gone_because: GoneBecause | None = None
    out_of_memory: bool = False
    last_lines: tuple[str, ...] = ()
    waiting_reason: str = ""  # why it is Pending, one sentence
    waiting_code: Reason | None = None  # the same in one word, where it is known
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class ExitSeen:
    """The end of one training process inside a living worker, as its agent reported it."""

    uid: str  # incarnation of the worker
    index: int
    attempt: int
    process_attempt: int
    exit_code: int
    at: float
    last_lines: tuple[str, ...] = ()
    out_of_memory: bool = False
    hang: bool = False  # we killed it because it made no progress
    consequence: bool = False  # another member of its view had failed before
    told: bool = False  # SIGTERM by us or by the platform
    view: int = 0  # number of the view (of a script: of the gang) that it was in last, 0 = none


@dataclass(frozen=True, kw_only=True)
class MemberSeen:
    """One training process that attends at the coordinator."""

    index: int
    process: int
    uid: str
    process_attempt: int
    phase: str  # name of coordinator.v1 Progress.Phase
    step: int
    address: str
    in_view: bool
    entered_op: int
    progress_at: float  # when `step` or `phase` changed last
    metrics_address: str = ""


@dataclass(frozen=True, kw_only=True)
class HangSeen:
    """A process that makes no progress while the others wait, or that is frozen: to be killed and counted once."""

    uid: str
    index: int
    process_attempt: int
    reason: str
    agent_silent: bool = False  # the agent does not report either: the whole worker has to be replaced


@dataclass(frozen=True, kw_only=True)
class GroupSeen:
    """What the coordinator knows of the group as a whole."""

    term: int
    epoch: int  # number of the view in force, 0 before the first
    members: tuple[MemberSeen, ...] = ()
    view_size: int = 0
    waiting_reason: str = ""  # why there is no view, one sentence
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    data_epoch: int = 0
    loss: float | None = None
    samples_per_second: float | None = None
    best_metric: float | None = None
    note: str = ""
    view_changes: int = 0
    first_step_at: float | None = None
    below_minimum_since: float | None = None
    hangs: tuple[HangSeen, ...] = ()
    view_reason: str = ""  # why the view in force was made
    lost_members: int = 0
    finishing: bool = False  # all were told that the result stands


@dataclass(frozen=True, kw_only=True)
class EndpointSeen:
    """What is known of the ModelEndpoint that the job publishes into."""

    name: str
    exists: bool = False
    digest_version: str | None = None  # version that our artifact's digest got, if it is in spec.versions
    version_phase: str = ""  # LOADING, READY, FAILED: of that version on the servers
    version_reason: str = ""
    url: str = ""
    foreign: bool = False  # something of that name exists that Ringyard did not make


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why no worker can be made now. `final`: nothing but another manifest helps, so the job fails unless it runs."""

    reason: Reason
    sentence: str
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that `plan` may look at besides the job itself."""

    workers: tuple[WorkerSeen, ...] = ()  # all incarnations that still exist, any order
    exits: tuple[ExitSeen, ...] = ()  # of training processes inside living workers, oldest first
    group: GroupSeen | None = None  # None while there is no coordinator
    result: Mapping[str, Any] | None = None  # result.json, once it stands
    endpoint: EndpointSeen | None = None
    refusal: Refusal | None = None
    stop_requested: bool = False  # locally Ctrl-C: as suspend, without writing it to the spec
    notes: tuple[str, ...] = field(default=())  # facts for a human that change no decision
