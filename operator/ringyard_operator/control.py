"""The client of a model server's control service: the owner's side of `ringyard.server.v1.ServerControl`.

Both shells call it, `local.endpoint` and `kube.servers`. It speaks with the endpoint's token and answers in
plain data. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from ringyard_api.protos import server_control_pb2 as pb
from ringyard_api.protos import server_control_pb2_grpc as rpc

from ringyard_operator.endpointstatus import ServerState, VersionState

_TIMEOUT_SECONDS = 2.0
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, kw_only=True)
class WantedVersion:
    """One version that a server shall hold; `weight` is its share of 100 of the requests that name no version."""

    version: str
    uri: str
    digest: str
    weight: int


class Control:
    """A connection to one model server."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: rpc.ServerControlAsyncStub = rpc.ServerControlStub(self._channel)  # type: ignore[assignment]
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def apply(self, model: str, generation: int, versions: Sequence[WantedVersion]) -> ServerState | None:
        """Tells the server what to hold; None where it does not answer."""
        wanted = pb.Wanted(model=model, generation=generation)
        for each in versions:
            wanted.versions.add(version=each.version, uri=each.uri, digest=each.digest, weight=each.weight)
        try:
            return _state(await self._stub.Apply(wanted, timeout=_TIMEOUT_SECONDS, metadata=self._metadata))
        except grpc.RpcError:
            return None

    async def get(self) -> ServerState | None:
        """Asks the server for its state, which also tells it that its owner lives; None where it does not answer."""
        try:
            return _state(await self._stub.Get(pb.GetRequest(), timeout=_TIMEOUT_SECONDS, metadata=self._metadata))
        except grpc.RpcError:
            return None

    async def close(self) -> None:
        """Drops the connection."""
        await self._channel.close()


def _state(state: pb.State) -> ServerState:
    versions = tuple(
        VersionState(
            version=each.version,
            phase=pb.VersionState.Phase.Name(each.phase),
            reason=each.reason,
            digest=each.digest,
        )
        for each in state.versions
    )
    return ServerState(generation=state.generation, versions=versions, ready=state.ready)
