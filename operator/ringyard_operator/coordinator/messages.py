"""Between coordinator.v1 on the wire and the plain data of the cores. No decision is made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ringyard_api.protos import coordinator_pb2 as pb

from ringyard_operator.orders import Answer, Report
from ringyard_operator.views import Arrival, View

PROTOCOLS = frozenset({1})  # served now; an operator upgrade meets running workers, so later the last two


def epoch_of(epoch: pb.Epoch) -> tuple[int, int]:
    """(term, number), the order of epochs."""
    return (int(epoch.term), int(epoch.number))


def arrival(hello: pb.Hello) -> Arrival:
    """What a member says of itself."""
    return Arrival(
        worker=hello.worker,
        process=hello.process,
        incarnation=hello.incarnation,
        attempt=hello.attempt,
        process_attempt=hello.process_attempt,
        address=hello.address,
        host_id=hello.host_id,
        has_state=hello.has_state,
        step=hello.step,
        last_epoch=epoch_of(hello.last_epoch) if hello.HasField("last_epoch") and hello.last_epoch.term else None,
        last_size=hello.last_size,
        metrics_address=hello.metrics_address,
    )


def view_directive(view: View, key: int, secret: bytes) -> pb.Directive:
    """The view as one of its members gets it."""
    members = [
        pb.Member(
            rank=rank,
            worker=member.arrival.worker,
            process=member.arrival.process,
            incarnation=member.arrival.incarnation,
            process_attempt=member.arrival.process_attempt,
            address=member.arrival.address,
            host_id=member.arrival.host_id,
        )
        for rank, member in enumerate(view.members)
    ]
    return pb.Directive(
        view=pb.View(
            epoch=pb.Epoch(term=view.term, number=view.number),
            members=members,
            your_rank=view.rank_of(key) or 0,
            leader=view.leader,
            key=secret,
            urgent=view.urgent,
            reason=view.reason,
        )
    )


def wait_directive(reason: str, urgent: bool) -> pb.Directive:
    """Out of any view for now."""
    return pb.Directive(wait=pb.Wait(reason=reason, urgent=urgent))


def report(message: pb.AgentReport) -> Report:
    """One report of an agent."""
    return Report(
        index=message.worker,
        uid=message.incarnation,
        attempt=message.attempt,
        process_attempt=message.process_attempt,
        running=message.running,
        exit_code=message.exit_code,
        exited_at=message.exited_at,
        last_lines=tuple(message.last_lines)[-5:],
        out_of_memory=message.out_of_memory,
        terminating=message.terminating,
        host=message.host,
        result=json_object(message.result) if message.result else None,
    )


def json_object(text: bytes) -> dict[str, Any] | None:
    """A JSON object, or None where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def agent_order(answer: Answer) -> pb.AgentOrder:
    """One order to an agent."""
    environment: Mapping[str, str] = answer.environment
    return pb.AgentOrder(
        verb=pb.AgentOrder.Verb.Value(answer.verb),
        delay_seconds=answer.delay_seconds,
        process_attempt=max(0, answer.process_attempt),
        reason=answer.reason,
        environment=dict(environment),
    )
