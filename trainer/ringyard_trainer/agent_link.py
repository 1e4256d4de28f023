"""The agent's wire to the coordinator: one report out, one order back. Called by `agent` only.

It reads the coordinator's address and the token anew before each report, because a new coordinator has a new
address. The only place of the agent that knows gRPC. It decides nothing.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_trainer.agent_rules import Order

PROTOCOLS = (1,)
# A coordinator that has vanished behind a Service answers neither a ping nor a connection: 1 + 1 s until that is
# known, 1 s a try to reach the next one, and its name is asked for anew.
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment must never see these calls
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # gives a try to connect so long, too
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a closed channel takes its connection with it
)


class Link:
    """Reports to whoever the coordinator's file names."""

    def __init__(self, coordinator_file: str, token_file: str) -> None:
        self._coordinator_file, self._token_file = Path(coordinator_file), Path(token_file)
        self._address = ""
        self._channel: grpc.Channel | None = None
        self._stub: rpc.CoordinatorStub | None = None

    def report(self, report: pb.AgentReport, timeout: float) -> Order | None:
        """Sends one report; None where no coordinator answered within `timeout` seconds.

        A coordinator that knows who we are and forbids us to speak will never let us: that is an order to leave.
        """
        try:
            address = self._coordinator_file.read_text().strip()
            token = self._token_file.read_text().strip()
        except OSError:
            return None
        if not address:
            return None
        stub = self._dial(address)
        try:
            answer = stub.Report(report, timeout=timeout, metadata=(("authorization", f"Bearer {token}"),))
        except grpc.RpcError as error:
            call: object = error  # the stubs do not say that it is a grpc.Call, too
            code = call.code() if isinstance(call, grpc.Call) else None
            if code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self.close()  # dial anew: behind a Service another leads by now, while this connection still lives
            if isinstance(call, grpc.Call) and code is grpc.StatusCode.PERMISSION_DENIED:
                return Order(verb="LEAVE", reason=str(call.details()))
            return None
        return Order(
            verb=pb.AgentOrder.Verb.Name(answer.verb),
            process_attempt=answer.process_attempt,
            delay_seconds=answer.delay_seconds,
            reason=answer.reason,
            environment=dict(answer.environment),
        )

    def _dial(self, address: str) -> rpc.CoordinatorStub:
        if self._stub is None or address != self._address:
            self.close()
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
            self._stub, self._address = rpc.CoordinatorStub(self._channel), address
        return self._stub

    def close(self) -> None:
        """Drops the connection."""
        if self._channel is not None:
            self._channel.close()
        self._channel, self._stub = None, None
