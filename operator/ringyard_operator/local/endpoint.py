"""An endpoint looked after: publishes into its spec, runs or adopts its model server, tells it what to hold, writes
its status.

`supervisor` asks for a `tick` each second. Whoever holds the endpoint's lock runs the server; others publish by
editing the spec and read the status. Which version gets which number and weight is `ringyard_operator.endpoints`'
decision, not made here.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointStatus
from ringyard_api.reasons import Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator import endpoints
from ringyard_operator.control import Control, WantedVersion
from ringyard_operator.endpointstatus import ServerSeen, ServerState, endpoint_status, not_served
from ringyard_operator.errors import AlreadyRunning, NotFound, StateUnusable
from ringyard_operator.local import disk
from ringyard_operator.local.folders import EndpointFolder, StateDir
from ringyard_operator.local.lock import Lock
from ringyard_operator.local.server import Server
from ringyard_operator.local.targets import TargetsFile
from ringyard_operator.observed import EndpointSeen

_LONGEST_BACKOFF = 30.0
_STOP_SECONDS = 40.0
_EXIT_BAD_INPUT = 2
_HOPELESS = 3  # ends of the server in a row after which its versions count as failed


def publish(state: StateDir, job: TrainingJob, name: str, uri: str, digest: str) -> None:
    """Adds an artifact to the wanted versions of an endpoint, which is made if missing. Twice is once."""
    folder = state.endpoint(name)
    with folder.editing():
        present = folder.read() if folder.exists() else None
        wanted = endpoints.publish(present, job, name=name, uri=uri, digest=digest)
        if present is None or wanted.spec != present.spec:
            generation = (present.metadata.generation) if present is not None else 0
            metadata = replace(wanted.metadata, generation=generation + 1)
            folder.write_spec(replace(wanted, metadata=metadata), expected_generation=generation)


def endpoint_seen(state: StateDir, name: str, digest: str | None) -> EndpointSeen:
    """What `plan` may know of an endpoint. A status that nobody keeps up is not looked at."""
    folder = state.endpoint(name)
    try:
        endpoint = folder.read()
    except NotFound:
        return EndpointSeen(name=name)
    return endpoints.seen(endpoint, endpoint.status if folder.holder() is not None else None, digest)


class EndpointKeeper:
    """The holder of one endpoint's lock. Raises AlreadyRunning where another supervisor holds it."""

    def __init__(self, folder: EndpointFolder) -> None:
        self.folder = folder
        self.deleted = False
        self._lock: Lock = folder.lock()
        self._server, self._targets = Server(folder), TargetsFile(folder.targets_file)
        self._control: Control | None = None
        self._applied = -1  # generation that this server has been told
        self._failures = 0
        self._start_at = 0.0  # monotonic: not before
        self._trouble = ""
        self._status: ModelEndpointStatus | None = None

    async def tick(self) -> None:
        """Once a second: server up, list applied, status written. Does nothing more once the endpoint is deleted."""
        if self.deleted:
            return
        try:
            endpoint = await asyncio.to_thread(self.folder.read)
        except NotFound:
            await self.close()
            self.folder.remove()
            self.deleted = True
            return
        try:
            if not self._server.alive():
                await self._revive(endpoint)
            state = await self._talk(endpoint)
            await self._write(endpoint, state)
        except StateUnusable:
            if not self._server.alive():
                raise
            # a full disk is no reason to end a server that answers: the next tick tries again

    async def close(self) -> None:
        """Ends the server, with its drain, and gives the lock back."""
        if self._control is not None:
            await self._control.close()
            self._control = None
        self._server.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._server.alive():
            if time.monotonic() >= deadline:
                self._server.kill()
            await asyncio.sleep(0.05)
        if self.folder.exists() and self._status is not None:
            self.folder.write_status(not_served(self._status, "no supervisor serves it now", time.time()))
        self._lock.close()

    async def _revive(self, endpoint: ModelEndpoint) -> None:
        code = self._server.exit_code()
        now = time.monotonic()
        if code is not None and self._start_at < now and not self._trouble:
            self._failures += _HOPELESS if code == _EXIT_BAD_INPUT else 1
            self._start_at = now + min(_LONGEST_BACKOFF, 2.0 ** (self._failures - 1))
            said = self._server.last_line()
            self._trouble = said if code == _EXIT_BAD_INPUT and said else f"the model server ended with {code}: {said}"
        if now < self._start_at:
            return
        if self._control is not None:
            await self._control.close()
        self._control, self._applied, self._trouble = None, -1, ""
        disk.replace_json(self.folder.wanted_file, _wanted_file(endpoint))
        self._server.start(endpoint.spec.port)

    async def _talk(self, endpoint: ModelEndpoint) -> ServerState | None:
        address = self._server.address() if self._server.alive() else None
        if address is None:
            return None
        if self._control is None or self._control.address != address:
            if self._control is not None:
                await self._control.close()
            self._control, self._applied = Control(address, self.folder.token()), -1
        generation = endpoint.metadata.generation
        if self._applied == generation:
            return await self._control.get()
        disk.replace_json(self.folder.wanted_file, _wanted_file(endpoint))
        state = await self._control.apply(self.folder.name, generation, _wanted(endpoint))
        if state is not None:
            self._applied, self._failures = generation, 0
        return state

    async def _write(self, endpoint: ModelEndpoint, state: ServerState | None) -> None:
        status = self._make_status(endpoint, state)
        if status != self._status:
            await asyncio.to_thread(self.folder.write_status, status)
            self._status = status
        metrics = self._server.address("metrics") if status.url else None
        self._targets.write([(metrics, {"endpoint": self.folder.name, "role": "server"})] if metrics else [])

    def _make_status(self, endpoint: ModelEndpoint, state: ServerState | None) -> ModelEndpointStatus:
        address = self._server.address() if self._server.alive() else None
        server = ServerSeen(
            ready=state is not None and state.ready,
            state=None if self._trouble else state,
            why=(self._trouble, Reason.SERVER_FAILED) if self._trouble else None,
            hopeless=bool(self._trouble) and self._failures >= _HOPELESS,
        )
        url = f"grpc://{address}" if address else ""
        return endpoint_status(endpoint, (server,), wanted=1, url=url, now=time.time())


def _wanted(endpoint: ModelEndpoint) -> tuple[WantedVersion, ...]:
    return tuple(
        WantedVersion(version=each.version, uri=each.uri, digest=each.digest, weight=each.weight)
        for each in endpoint.spec.versions
    )


def _wanted_file(endpoint: ModelEndpoint) -> dict[str, object]:
    versions = [
        {"version": each.version, "uri": each.uri, "digest": each.digest, "weight": each.weight}
        for each in _wanted(endpoint)
    ]
    return {"model": endpoint.metadata.name, "generation": endpoint.metadata.generation, "versions": versions}


def try_keeper(folder: EndpointFolder) -> EndpointKeeper | None:
    """The keeper of an endpoint, or None while another supervisor lives that holds it."""
    try:
        return EndpointKeeper(folder)
    except AlreadyRunning:
        return None
