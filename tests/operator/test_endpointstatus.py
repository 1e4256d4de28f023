"""What an endpoint says of itself: when a version counts as ready, which sentence wins, when there is news."""

from __future__ import annotations

from typing import Any

from ringyard_api.clusterobject import endpoint_of
from ringyard_api.loading import to_object
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointStatus
from ringyard_api.reasons import Reason
from ringyard_operator import serverpods
from ringyard_operator.endpointstatus import ServerSeen, ServerState, VersionState, Why, endpoint_status, settled

NOW = 1_795_000_000.0


def endpoint(*weights: int, generation: int = 2, status: ModelEndpointStatus | None = None) -> ModelEndpoint:
    versions = [
        {"version": str(n), "uri": f"pvc://models/{n}", "digest": f"sha256:{n:064x}", "weight": weight}
        for n, weight in enumerate(weights, start=1)
    ]
    obj = {
        "metadata": {"name": "flowers", "namespace": "ml", "uid": "u", "generation": generation},
        "spec": {"versions": versions, "lastVersion": len(weights), "replicas": 2},
        "status": to_object(status) if status is not None else {},
    }
    return endpoint_of(obj)[0]


def server(
    *phases: str, ready: bool = True, generation: int = 2, why: Why | None = None, outdated: bool = False
) -> ServerSeen:
    """A server that says these phases of the versions 1, 2 …; none: it has said nothing yet."""
    states = tuple(
        VersionState(version=str(n), phase=phase, reason="digest mismatch" if phase == "FAILED" else "", digest="")
        for n, phase in enumerate(phases, start=1)
    )
    state = ServerState(generation=generation, versions=states, ready=ready) if phases else None
    return ServerSeen(ready=ready, state=state, why=why, outdated=outdated)


def said(of: ModelEndpoint, *servers: ServerSeen, trouble: Why | None = None) -> ModelEndpointStatus:
    return endpoint_status(of, servers, wanted=2, url="grpc://flowers.ml.svc:8001", now=NOW, trouble=trouble)


def phases(status: ModelEndpointStatus) -> list[str]:
    return [each.phase for each in status.versions]


def available(status: ModelEndpointStatus) -> tuple[str, str, str]:
    (condition,) = status.conditions
    return condition.status, condition.reason, condition.message


def test_a_version_is_ready_when_every_server_that_clients_are_led_to_has_it() -> None:
    both = said(endpoint(0, 100), server("READY", "READY"), server("READY", "READY"))
    assert phases(both) == ["READY", "READY"] and settled(both, 2)
    assert available(both) == ("True", "Serving", "version 2 answers on 2 of 2 servers")
    assert (both.summary.versions, both.summary.weights, both.summary.ready) == ("1,2", "0,100", "2/2")

    behind = said(endpoint(0, 100), server("READY", "READY"), server("READY", generation=1))
    assert phases(behind) == ["LOADING", "LOADING"] and not settled(behind, 2)
    starting = said(endpoint(0, 100), server("READY", "READY"), server("LOADING", "LOADING", ready=False))
    assert phases(starting) == ["READY", "READY"] and not settled(starting, 2), "nobody is led to it yet"
    silent = said(endpoint(0, 100), server("READY", "READY"), server())
    assert phases(silent) == ["LOADING", "LOADING"]
    replaced = said(endpoint(0, 100), server("READY", "READY"), server("READY", "READY", outdated=True))
    assert phases(replaced) == ["LOADING", "LOADING"]


def test_a_version_that_fails_on_one_server_has_failed_and_the_old_one_goes_on() -> None:
    status = said(endpoint(0, 100), server("READY", "READY"), server("READY", "FAILED"))
    assert phases(status) == ["READY", "FAILED"]
    assert status.versions[1].reason == "digest mismatch"
    assert available(status) == (
        "True",
        "Degraded",
        "version 1 answers on 2 of 2 servers, but version 2 is not served: digest mismatch",
    )
    stale = said(endpoint(0, 100), server("READY", "FAILED", generation=1))
    assert phases(stale) == ["LOADING", "LOADING"], "it will be told of this generation, and tries again"


def test_why_nobody_answers_is_one_sentence_and_what_is_wrong_first() -> None:
    image = ("image serving:1 cannot be pulled", Reason.IMAGE_UNAVAILABLE)
    waiting = server(ready=False, why=image)
    assert available(said(endpoint(100), waiting)) == ("False", "ImageUnavailable", image[0])
    foreign = ("Service flowers exists and is not this endpoint's", Reason.FOREIGN_CHILD)
    assert available(said(endpoint(100), waiting, trouble=foreign))[1] == "ForeignChild"
    assert available(said(endpoint())) == ("False", "NoVersion", "no version has been published")
    assert available(said(endpoint(100), server("LOADING", ready=False)))[1] == "Loading"
    assert available(said(endpoint(100), server("FAILED", ready=False))) == ("False", "LoadFailed", "digest mismatch")
    assert said(endpoint(100), waiting).versions[0].reason == image[0], "the job that published it says so too"
    one = said(endpoint(100), server("READY"), waiting)
    assert available(one) == ("True", "Degraded", f"version 1 answers on 1 of 2 servers, but {image[0]}")


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    before = said(endpoint(100), server("READY"), server("READY"))
    after = endpoint_status(
        endpoint(100, status=before), (server("READY"),), wanted=2, url="grpc://flowers.ml.svc:8001", now=NOW + 60
    )
    assert after.conditions[0].last_transition_time == before.conditions[0].last_transition_time
    again = endpoint_status(
        endpoint(100, status=before),
        (server("READY"), server("READY")),
        wanted=2,
        url="grpc://flowers.ml.svc:8001",
        now=NOW + 60,
    )
    assert again == before, "nothing is written where nothing is new"


def pod(**status: Any) -> dict[str, Any]:
    spec = {"volumes": [{"name": "claim-0", "persistentVolumeClaim": {"claimName": "models"}}]}
    metadata = {
        "name": "flowers-servers-1-a",
        "namespace": "ml",
        "labels": {"ringyard.dev/endpoint": "flowers"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "flowers-servers-1", "controller": True}],
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running", "podIP": "10.0.0.9", **status}}


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "server", "image": "serving:1", **fields}]


def test_a_server_that_crashes_is_told_with_its_last_line_and_has_failed_after_the_third_end() -> None:
    ended = {"exitCode": 2, "message": "Traceback\nringyard-serving: --wanted: cannot read it\n"}
    restarting = pod(
        containerStatuses=container(
            restartCount=2, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": ended}
        )
    )
    seen = serverpods.server_seen(restarting, None, {"models"})
    assert seen.why == (
        "the model server ended with 2: ringyard-serving: --wanted: cannot read it",
        Reason.SERVER_FAILED,
    )
    assert phases(said(endpoint(100), seen)) == ["LOADING"]
    restarting["status"]["containerStatuses"][0]["restartCount"] = 3
    assert phases(said(endpoint(100), serverpods.server_seen(restarting, None, {"models"}))) == ["FAILED"]


def test_servers_are_the_deployments_pods_that_stay_and_one_without_a_claim_is_outdated() -> None:
    ready = pod(conditions=[{"type": "Ready", "status": "True"}])
    assert serverpods.is_server(ready, "flowers") and not serverpods.is_server(ready, "trees")
    assert serverpods.server_seen(ready, None, {"models"}).ready
    assert serverpods.server_seen(ready, None, {"models", "others"}).outdated
    unheard = serverpods.server_seen(ready, None, {"models"}, unheard=True)
    assert "does not answer the operator" in available(said(endpoint(100), unheard))[2]
    stranger = pod()
    stranger["metadata"]["ownerReferences"] = []
    assert not serverpods.is_server(stranger, "flowers"), "our token is not shown to it"
    going = pod()
    going["metadata"]["deletionTimestamp"] = "2026-11-21T14:00:00Z"
    assert not serverpods.is_server(going, "flowers") and not serverpods.is_server(pod(phase="Failed"), "flowers")
    assert serverpods.address_of(pod(), 8001) == "10.0.0.9:8001"
    assert serverpods.address_of(pod(podIP="fd00::9"), 8001) == "[fd00::9]:8001"
    assert serverpods.address_of(pod(phase="Pending"), 8001) is None


def test_servers_that_a_quota_forbids_are_told_in_a_sentence() -> None:
    message = (
        'pods "flowers-servers-1-b" is forbidden: exceeded quota: small, '
        "requested: pods=1, used: pods=0, limited: pods=0"
    )
    deployment = {
        "metadata": {"name": "flowers-servers", "namespace": "ml"},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]},
    }
    assert serverpods.deployment_trouble(deployment) == (
        "quota small of namespace ml is exceeded: one more model server asks for pods=1, limited: pods=0",
        Reason.QUOTA_EXCEEDED,
    )
    assert serverpods.deployment_trouble(None) is None
