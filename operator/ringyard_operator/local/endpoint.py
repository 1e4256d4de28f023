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
from typing import Literal

from ringyard_api.jobstatus import Condition, rfc3339
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointStatus, ModelVersionStatus
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator import endpoints
from ringyard_operator.errors import AlreadyRunning, NotFound, StateUnusable
from ringyard_operator.local import disk
from ringyard_operator.local.control import Control, ServerState, WantedVersion
from ringyard_operator.local.folders import EndpointFolder, StateDir
from ringyard_operator.local.lock import Lock
from ringyard_operator.local.server import Server
from ringyard_operator.local.targets import TargetsFile
from ringyard_operator.observed import EndpointSeen

_LONGEST_BACKOFF = 30.0
_STOP_SECONDS = 40.0
_EXIT_BAD_INPUT = 2
_Phase = Literal["LOADING", "READY", "UNLOADING", "FAILED"]
_LOADING: _Phase = "LOADING"
_FAILED: _Phase = "FAILED"
_PHASES: dict[str, _Phase] = {"LOADING": "LOADING", "READY": "READY", "UNLOADING": "UNLOADING", "FAILED": "FAILED"}
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
    version = next((each.version for each in endpoint.spec.versions if digest and each.digest == digest), None)
    status = endpoint.status if folder.holder() is not None else None
    found = next((each for each in (status.versions if status else ()) if each.version == version), None)
    return EndpointSeen(
        name=name,
        exists=True,
        digest_version=version,
        version_phase=found.phase if found is not None else "",
        version_reason=found.reason or "" if found is not None else "",
        url=(status.url or "") if status is not None else "",
    )


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
            gone = replace(self._status, url="", replicas=0, versions=())
            self.folder.write_status(_with_available(gone, "False", Reason.NOT_SERVED, "no supervisor serves it now"))
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
        known = {each.version: each for each in (state.versions if state is not None else ())}
        versions: list[ModelVersionStatus] = []
        for wanted in endpoint.spec.versions:
            said = known.get(wanted.version)
            phase, reason = (_PHASES.get(said.phase, _LOADING), said.reason) if said is not None else (_LOADING, "")
            if self._trouble:
                phase, reason = (_FAILED if self._failures >= _HOPELESS else _LOADING), self._trouble
            versions.append(
                ModelVersionStatus(
                    version=wanted.version, digest=wanted.digest, phase=phase, reason=reason, weight=wanted.weight
                )
            )
        present = endpoint.status if endpoint.status is not None else ModelEndpointStatus()
        address = self._server.address() if self._server.alive() else None
        ready = state is not None and state.ready
        status = replace(
            present,
            observed_generation=endpoint.metadata.generation,
            url=f"grpc://{address}" if address else "",
            replicas=1 if ready else 0,
            versions=tuple(versions),
        )
        if ready:
            return _with_available(status, "True", Reason.SERVING, f"version {_newest_ready(status)} answers")
        reason, message = self._why_not(status)
        return _with_available(status, "False", reason, message)

    def _why_not(self, status: ModelEndpointStatus) -> tuple[Reason, str]:
        if self._trouble:
            return Reason.SERVER_FAILED, self._trouble
        if not status.versions:
            return Reason.NO_VERSION, "no version has been published"
        failed = [each for each in status.versions if each.phase == "FAILED"]
        if failed and len(failed) == len(status.versions):
            return Reason.LOAD_FAILED, failed[-1].reason
        return Reason.LOADING, "no version is ready yet"


def _newest_ready(status: ModelEndpointStatus) -> str:
    return next((each.version for each in reversed(status.versions) if each.phase == "READY"), "")


def _with_available(
    status: ModelEndpointStatus, value: Literal["True", "False"], reason: Reason, message: str
) -> ModelEndpointStatus:
    """`lastTransitionTime` moves only when the status of the condition does."""
    before = next((each for each in status.conditions if each.type == "Available"), None)
    since = before.last_transition_time if before is not None and before.status == value else rfc3339(time.time())
    condition = Condition(
        type=ConditionType.AVAILABLE.value,
        status=value,
        reason=reason.value,
        message=message,
        last_transition_time=since,
        observed_generation=status.observed_generation,
    )
    others = tuple(each for each in status.conditions if each.type != "Available")
    return replace(status, conditions=(*others, condition))


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
