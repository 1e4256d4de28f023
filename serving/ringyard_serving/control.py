"""ServerControl: how the owner of the endpoint tells this server what to serve, and hears how that goes.

The operator or the local supervisor calls Apply and Get about once a second; a bearer token in the call's metadata says
that it may. Translates between messages and the repository; the shell asks it how long the owner has been silent.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import grpc
from ringyard_api.protos import server_control_pb2 as pb
from ringyard_api.protos import server_control_pb2_grpc

from ringyard_serving.errors import STATUS, Refusal, Situation
from ringyard_serving.repository import Phase, Repository, Slot
from ringyard_serving.wanted import Wanted, WantedError, WantedVersion, check

Context = grpc.aio.ServicerContext[Any, Any]

_PHASES = {
    Phase.LOADING: pb.VersionState.LOADING,
    Phase.READY: pb.VersionState.READY,
    Phase.UNLOADING: pb.VersionState.UNLOADING,
    Phase.FAILED: pb.VersionState.FAILED,
}


class ControlServicer(server_control_pb2_grpc.ServerControlServicer):
    """The owner's side of the server."""

    def __init__(self, repository: Repository, token: Callable[[], str | None]) -> None:
        """`token` is asked at each call, so that a new one in the file counts at once; None = no token is needed."""
        self._repository = repository
        self._token = token
        self._heard = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the owner last called, or since the start."""
        return time.monotonic() - self._heard

    async def Apply(self, request: pb.Wanted, context: Context) -> pb.State:
        """Begins to follow the list and answers at once with the present state."""
        try:
            self._admit(context)
            self._repository.apply(_wanted(request))
        except Refusal as refusal:
            await context.abort(grpc.StatusCode[STATUS[refusal.situation]], str(refusal))
        return self._state()

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.State:
        """The present state."""
        try:
            self._admit(context)
        except Refusal as refusal:
            await context.abort(grpc.StatusCode[STATUS[refusal.situation]], str(refusal))
        return self._state()

    def _admit(self, context: Context) -> None:
        wanted = self._token()
        if wanted is not None:
            sent = {str(key): value for key, value in context.invocation_metadata() or ()}.get("authorization", "")
            given = sent if isinstance(sent, bytes) else sent.encode()
            if wanted.startswith("sha256:"):  # only its digest was given to us
                given = f"Bearer sha256:{hashlib.sha256(given.removeprefix(b'Bearer ')).hexdigest()}".encode()
            if not hmac.compare_digest(given, f"Bearer {wanted}".encode()):
                raise Refusal(Situation.NOT_ALLOWED, "the token of this server is missing or wrong")
        self._heard = time.monotonic()

    def _state(self) -> pb.State:
        return pb.State(
            model=self._repository.name,
            generation=max(self._repository.generation, 0),
            versions=[_version(slot) for slot in self._repository.slots],
            ready=self._repository.ready,
        )


def _wanted(request: pb.Wanted) -> Wanted:
    versions = tuple(
        WantedVersion(version=v.version, uri=v.uri, digest=v.digest, weight=v.weight) for v in request.versions
    )
    try:
        return check(Wanted(model=request.model, generation=request.generation, versions=versions))
    except WantedError as error:
        raise Refusal(Situation.BAD_REQUEST, str(error)) from None


def _version(slot: Slot) -> pb.VersionState:
    return pb.VersionState(
        version=slot.want.version, phase=_PHASES[slot.phase], reason=slot.reason, digest=slot.want.digest
    )
