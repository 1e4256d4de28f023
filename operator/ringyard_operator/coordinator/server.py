"""The coordinator's life: starts the gRPC server, takes wishes and orders of the plan, says what is seen.

Made by the local supervisor (and later by the operator's Lease holder), one a job. All methods belong on the event
loop. It knows nothing of processes, pods or manifests.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_operator.actions import Order
from ringyard_operator.coordinator.group import Group
from ringyard_operator.coordinator.seeing import group_seen
from ringyard_operator.coordinator.servicer import Servicer
from ringyard_operator.observed import ExitSeen, GroupSeen
from ringyard_operator.views import Wanted

# A frozen member answers no ping: it is out 2 to 3 s later (measured 2.3 s, grpcio 1.85). Since grpcio 1.60 or so it is
# `ping_timeout_ms` (60 s by default) that counts, because a keepalive often rides on a ping that is under way already.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_time_between_pings_ms", 300),
    ("grpc.http2.min_ping_interval_without_data_ms", 300),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1 << 20),
)


@dataclass(frozen=True, kw_only=True)
class CoordinatorSeen:
    """What `observe` takes from the coordinator."""

    group: GroupSeen
    exits: tuple[ExitSeen, ...]
    result: Mapping[str, Any] | None
    agents: Mapping[str, float]  # uid -> Unix time of its last report


class Coordinator:
    """One job's coordinator. `term` has to be higher than that of every coordinator of the job before."""

    def __init__(
        self,
        *,
        job: str,
        uid: str,
        token: str,
        key: bytes,
        term: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.job, self.uid, self.term = job, uid, term
        self._token = token
        self._group = Group(term=term, secret=key, clock=clock, wall=wall, pick_port=_free_port)
        self._server: grpc.aio.Server | None = None

    @property
    def changed(self) -> asyncio.Event:
        """Set whenever something that `seen` tells may have changed; the reader clears it."""
        return self._group.changed

    async def start(self, bind: str = "127.0.0.1:0") -> str:
        """Serves; the answer is host:port with the port that was got. `OSError` if the address cannot be had."""
        server = grpc.aio.server(options=OPTIONS)
        rpc.add_CoordinatorServicer_to_server(Servicer(self._group, self._token), server)
        try:
            port = server.add_insecure_port(bind)
        except RuntimeError as error:
            raise OSError(f"the coordinator of job {self.job} cannot listen at {bind}: {error}") from error
        await server.start()
        self._server = server
        return f"{bind.rsplit(':', 1)[0]}:{port}"

    async def stop(self, grace: float = 0.5) -> None:
        """Ends the server; members go on training without it."""
        self._group.stop()
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None

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
        of each index; older ones are sent away. `hosts`: where a script's rendezvous is reachable, by index (default
        127.0.0.1).
        """
        self._group.agents.incarnations = dict(incarnations or {})
        self._group.scripts.hosts = dict(hosts or {})
        wanted = Wanted(
            replicas=replicas,
            min_replicas=min_replicas,
            stall_seconds=stall_seconds,
            indices=indices if indices is not None else frozenset(range(replicas)),
        )
        self._group.want(wanted, script)

    def order(self, order: Order) -> None:
        """The plan's answer to an exit or a hang; the agent gets it with its next report."""
        self._group.agents.order(order, self._group.clock())

    def finish(self, reason: str) -> None:
        """The result stands: all members and agents end with 0."""
        self._group.finish(reason)

    def request_checkpoint(self, reason: str = "asked for") -> None:
        """The leader writes a checkpoint at the next step boundary; training goes on."""
        self._group.tell_all(pb.Directive(checkpoint=pb.Checkpoint(reason=reason)))

    def forget(self, uid: str) -> None:
        """The worker is gone for good: its agent's reports and exits are not shown any more."""
        self._group.agents.forget(uid)

    def seen(self) -> CoordinatorSeen:
        """Everything the plan may know of the group now."""
        group, now = self._group, self._group.clock()
        to_wall = group.wall() - now
        members_of = group.scripts.members_of if group.script else group.membership.members_of
        return CoordinatorSeen(
            exits=group.agents.publish(members_of, now),
            group=group_seen(group, now),
            result=group.result,
            agents={uid: at + to_wall for uid, at in group.agents.heard_at.items()},
        )

    def wake_at(self) -> float | None:
        """Unix seconds when `seen` may change by the clock alone; None if never."""
        at = self._group.agents.wake_at()
        return None if at is None else at + self._group.wall() - self._group.clock()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
