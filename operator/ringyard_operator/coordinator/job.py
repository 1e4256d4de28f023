"""One job's coordinator: takes wishes and orders of the plan, says what is seen.

Made by the local supervisor and by the operator's Lease holder, one a job and term, and opened in the one
`CoordinatorServer`. All methods belong on the event loop. It knows nothing of gRPC, processes, pods or manifests.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ringyard_api.protos import coordinator_pb2 as pb

from ringyard_operator.actions import Order
from ringyard_operator.coordinator.group import Group
from ringyard_operator.coordinator.seeing import group_seen
from ringyard_operator.observed import ExitSeen, GroupSeen
from ringyard_operator.views import Wanted


@dataclass(frozen=True, kw_only=True)
class CoordinatorSeen:
    """What `observe` takes from the coordinator.

    Attributes:
        result: of a declared fit what its leader handed in; of a script, once every process of its gang has ended with
            0, what the one with the lowest index has left as a model.
        agents: uid -> Unix time of its last report.
    """

    group: GroupSeen
    exits: tuple[ExitSeen, ...]
    result: Mapping[str, Any] | None
    agents: Mapping[str, float]


def free_port(_gang: int) -> int:
    """A port for a script's rendezvous, free on this machine now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Coordinator:
    """One job's coordinator. `term` has to be higher than that of every coordinator of the job before.

    `held` says whether this process may still lead (the Lease): while it may not, no view is made and no order is
    given. `pick_port` gives a script's gang of that number the port of its rendezvous, in the pod of its first member.
    """

    def __init__(
        self,
        *,
        job: str,
        uid: str,
        key: bytes,
        term: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        held: Callable[[], bool] = lambda: True,
        pick_port: Callable[[int], int] = free_port,
    ) -> None:
        self.job, self.uid, self.term = job, uid, term
        self.group = Group(term=term, secret=key, clock=clock, wall=wall, held=held, pick_port=pick_port)

    @property
    def changed(self) -> asyncio.Event:
        """Set whenever something that `seen` tells may have changed; the reader clears it."""
        return self.group.changed

    def want(
        self,
        *,
        replicas: int,
        min_replicas: int,
        stall_seconds: float,
        indices: frozenset[int] | None = None,
        incarnations: Mapping[int, tuple[str, int]] | None = None,
        script: bool = False,
        hosts: Mapping[int, str] | None = None,
    ) -> None:
        """What the plan wants of the group; call it with every plan, an unchanged wish costs nothing.

        `indices`: worker indices that may be members (default 0 … replicas-1). `incarnations`: newest (uid, attempt)
        of each index; older ones are sent away. `hosts`: where a script's rendezvous is reachable, by index (default:
        what the agent of that index says).
        """
        self.group.agents.incarnations = dict(incarnations or {})
        self.group.scripts.hosts = dict(hosts or {})
        wanted = Wanted(
            replicas=replicas,
            min_replicas=min_replicas,
            stall_seconds=stall_seconds,
            indices=indices if indices is not None else frozenset(range(replicas)),
        )
        self.group.want(wanted, script)

    def order(self, order: Order) -> None:
        """The plan's answer to an exit or a hang; the agent gets it with its next report."""
        self.group.agents.order(order, self.group.clock())

    def finish(self, reason: str) -> None:
        """The result stands: all members and agents end with 0."""
        self.group.finish(reason)

    def request_checkpoint(self, reason: str = "asked for") -> None:
        """The leader writes a checkpoint at the next step boundary; training goes on."""
        self.group.tell_all(pb.Directive(checkpoint=pb.Checkpoint(reason=reason)))

    def forget(self, uid: str) -> None:
        """The worker is gone for good: its agent's reports and exits are not shown any more."""
        self.group.agents.forget(uid)

    def seen(self) -> CoordinatorSeen:
        """Everything the plan may know of the group now."""
        group, now = self.group, self.group.clock()
        to_wall = group.wall() - now
        members_of = group.scripts.members_of if group.script else group.membership.members_of
        return CoordinatorSeen(
            exits=group.agents.publish(members_of, now),
            group=group_seen(group, now),
            result=group.scripts.result() if group.script else group.result,
            agents={uid: at + to_wall for uid, at in group.agents.heard_at.items()},
        )

    def wake_at(self) -> float | None:
        """Unix seconds when `seen` may change by the clock alone; None if never."""
        at = self.group.agents.wake_at()
        return None if at is None else at + self.group.wall() - self.group.clock()
