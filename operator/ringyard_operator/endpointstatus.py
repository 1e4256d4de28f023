"""What an endpoint's status says, made of what its model servers say: pure, and the same here and on a cluster.

`local.endpoint` calls it with the one server of local mode, `kube.endpointkeeper` with those that run in pods. It knows
neither processes nor pods, and it decides nothing about what is served.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ringyard_api.modelendpoint import EndpointSummary, ModelEndpoint, ModelEndpointStatus, ModelVersionStatus
from ringyard_api.reasons import ConditionType, Reason

from ringyard_operator import conditions

Phase = Literal["LOADING", "READY", "UNLOADING", "FAILED"]
Why = tuple[str, Reason]  # a sentence, a word


@dataclass(frozen=True, kw_only=True)
class VersionState:
    """What a server says of one version; `phase` is LOADING, READY, UNLOADING or FAILED."""

    version: str
    phase: str
    reason: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What a server says of itself."""

    generation: int
    versions: tuple[VersionState, ...]
    ready: bool

    def of(self, version: str) -> VersionState | None:
        """What it says of that version."""
        return next((each for each in self.versions if each.version == version), None)


@dataclass(frozen=True, kw_only=True)
class ServerSeen:
    """One model server as its owner sees it.

    Attributes:
        ready: whether clients are led to it.
        state: what it said last; None where it has said nothing yet.
        why: why it does not answer, where that is known.
        hopeless: it has ended so often that its versions count as failed.
        outdated: it is about to be replaced by one that reaches what this one cannot.
    """

    ready: bool
    state: ServerState | None
    why: Why | None = None
    hopeless: bool = False
    outdated: bool = False


def endpoint_status(
    endpoint: ModelEndpoint,
    servers: Sequence[ServerSeen],
    *,
    wanted: int,
    url: str,
    now: float,
    selector: str = "",
    trouble: Why | None = None,
) -> ModelEndpointStatus:
    """The whole status. `wanted`: servers that there should be; `trouble`: what is wrong, but with no server."""
    present = endpoint.status if endpoint.status is not None else ModelEndpointStatus()
    ready = sum(each.ready for each in servers)
    versions = _versions(endpoint, servers, trouble)
    claim = _available(versions, servers, ready, wanted, trouble) if ready else _why_not(versions, servers, trouble)
    generation = endpoint.metadata.generation
    return replace(
        present,
        observed_generation=generation,
        conditions=conditions.merge(present.conditions, (claim,), generation=generation, now=now),
        url=url,
        versions=versions,
        summary=EndpointSummary(
            versions=",".join(each.version for each in versions),
            weights=",".join(str(each.weight) for each in versions),
            ready=f"{ready}/{wanted}",
        ),
        replicas=ready,
        selector=selector,
    )


def settled(status: ModelEndpointStatus, wanted: int) -> bool:
    """Whether nothing is on its way: all servers are ready, and each version has come up or failed."""
    return status.replicas == wanted and all(each.phase in ("READY", "FAILED") for each in status.versions)


def not_served(status: ModelEndpointStatus, message: str, now: float) -> ModelEndpointStatus:
    """The status once nobody serves any more."""
    claim = _claim("False", Reason.NOT_SERVED, message)
    merged = conditions.merge(status.conditions, (claim,), generation=status.observed_generation, now=now)
    return replace(status, url="", replicas=0, versions=(), summary=EndpointSummary(), conditions=merged)


def _versions(
    endpoint: ModelEndpoint, servers: Sequence[ServerSeen], trouble: Why | None
) -> tuple[ModelVersionStatus, ...]:
    found = []
    for wanted in endpoint.spec.versions:
        phase, reason = _phase(wanted.version, endpoint.metadata.generation, servers)
        if phase == "LOADING" and trouble is not None:
            reason = trouble[0]
        found.append(
            ModelVersionStatus(
                version=wanted.version, digest=wanted.digest, phase=phase, reason=reason, weight=wanted.weight
            )
        )
    return tuple(found)


def _phase(version: str, generation: int, servers: Sequence[ServerSeen]) -> tuple[Phase, str]:
    """READY where each server that clients are led to has it; FAILED as soon as one that was told of it says so."""
    told = [each.state for each in servers if each.state is not None and each.state.generation >= generation]
    said = [found for state in told if (found := state.of(version)) is not None]
    if failed := next((each for each in said if each.phase == "FAILED"), None):
        return "FAILED", failed.reason
    leads = [each for each in servers if each.ready]
    if leads and all(_holds(each, version, generation) for each in leads):
        return "READY", ""
    hopeless = next((each for each in servers if each.hopeless), None)
    if not leads and hopeless is not None:
        return "FAILED", hopeless.why[0] if hopeless.why is not None else ""
    waits = [each.why[0] for each in servers if each.why is not None and not leads] + [each.reason for each in said]
    return "LOADING", next((each for each in waits if each), "")


def _holds(server: ServerSeen, version: str, generation: int) -> bool:
    state = server.state
    if state is None or server.outdated or state.generation < generation:
        return False
    found = state.of(version)
    return found is not None and found.phase == "READY"


def _available(
    versions: Iterable[ModelVersionStatus],
    servers: Sequence[ServerSeen],
    ready: int,
    wanted: int,
    trouble: Why | None,
) -> conditions.Claim:
    failed = {each.version: each.reason for each in versions if each.phase == "FAILED"}
    answering = _newest_answering(servers, failed)
    said = f"version {answering} answers" if answering else "its servers answer"
    if wanted > 1:
        said += f" on {ready} of {wanted} servers"
    wrong = [f"version {version} is not served: {reason}" for version, reason in failed.items()]
    wrong += [why[0] for why in (trouble, _first_why(servers)) if why is not None]
    if wrong:
        return _claim("True", Reason.DEGRADED, f"{said}, but {wrong[0]}")
    return _claim("True", Reason.SERVING, said)


def _newest_answering(servers: Iterable[ServerSeen], failed: Container[str]) -> str:
    states = [each.state for each in servers if each.ready and each.state is not None]
    held = {each.version for state in states for each in state.versions if each.phase == "READY"}
    return max((each for each in held if each.isdecimal() and each not in failed), key=int, default="")


def _why_not(
    versions: Sequence[ModelVersionStatus], servers: Sequence[ServerSeen], trouble: Why | None
) -> conditions.Claim:
    if (why := trouble or _first_why(servers)) is not None:
        return _claim("False", why[1], why[0])
    if not versions:
        return _claim("False", Reason.NO_VERSION, "no version has been published")
    failed = [each for each in versions if each.phase == "FAILED"]
    if len(failed) == len(versions):
        return _claim("False", Reason.LOAD_FAILED, failed[-1].reason)
    waits = next((f": {each.reason}" for each in reversed(versions) if each.phase == "LOADING" and each.reason), "")
    return _claim("False", Reason.LOADING, f"no version is ready yet{waits}")


def _first_why(servers: Iterable[ServerSeen]) -> Why | None:
    return next((each.why for each in servers if each.why is not None), None)


def _claim(status: conditions.Status, reason: Reason, message: str) -> conditions.Claim:
    return conditions.Claim(type=ConditionType.AVAILABLE, status=status, reason=reason, message=message)
