"""Workers are known by the tokens of their Pods, reviewed by a real API server; and they find who leads."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from cluster_at_hand import Cluster
from kubectl import Kubectl
from ringyard_operator.coordinator import Caller, CannotTell
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.address import publish_address
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.jobkey import endpoint_token, job_key, operator_secret
from ringyard_operator.kube.kinds import PODS, TOKEN_REVIEWS, Kind
from ringyard_operator.kube.tokens import BAD_SECONDS, GOOD_SECONDS, PodTokens

AUDIENCE = "coordinator.ringyard.dev"
Busybox = Callable[..., dict[str, Any]]


class Counted(Api):
    """The real client, which counts reviews and can be cut off from its API server."""

    reviews = 0

    async def create(self, kind: Kind, body: dict[str, Any], **how: bool) -> dict[str, Any]:
        self.reviews += kind == TOKEN_REVIEWS
        return await super().create(kind, body, **how)


class Door:
    """What the operator has at hand: the pods of one namespace, and a clock of the test's own."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api = Counted(Access.from_kubeconfig(cluster.kubectl.kubeconfig))
        self.pods: dict[str, dict[str, Any]] = {}
        self.namespace, self.later = namespace, 0.0
        self.tokens = PodTokens(self.api, AUDIENCE, self.pods.get, clock=lambda: time.time() + self.later)

    async def look(self) -> None:
        self.pods.clear()
        self.pods.update({pod["metadata"]["uid"]: pod for pod in await self.api.list(PODS, self.namespace)})


def at_the_door(cluster: Cluster, namespace: str, test: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        door = Door(cluster, namespace)
        async with door.api:
            await door.look()
            await test(door)

    asyncio.run(body())


def job(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """A TrainingJob that nobody looks after."""
    return kubectl.create(
        {
            "apiVersion": "ringyard.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name},
            "spec": {
                "command": ["true"],
                "runPolicy": {"managedBy": "ringyard.dev/nobody"},
                "workers": {"replicas": 1},
            },
        }
    )


def worker(kubectl: Kubectl, pod: dict[str, Any], owner: dict[str, Any] | None, attempt: int = 0) -> dict[str, Any]:
    if owner is not None:
        kept = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        pod["metadata"]["ownerReferences"] = [{**kept, **{key: owner["metadata"][key] for key in ("name", "uid")}}]
        pod["metadata"]["labels"] = {"ringyard.dev/index": "0", "ringyard.dev/attempt": str(attempt)}
    return kubectl.create(pod)


def token(kubectl: Kubectl, pod: str = "", audience: str = AUDIENCE) -> str:
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", pod) if pod else ()
    return kubectl.run("create", "token", "default", "--audience", audience, *bound).strip()


def test_a_pods_token_says_whose_worker_it_is_and_no_other_token_says_anything(
    cluster: Cluster, kubectl: Kubectl, namespace: str, busybox: Busybox
) -> None:
    one = job(kubectl, "one")
    mine = worker(kubectl, busybox("mine", "sleep", "600"), one, attempt=2)
    worker(kubectl, busybox("foreign", "sleep", "600"), None)

    async def test(door: Door) -> None:
        uid = mine["metadata"]["uid"]
        right = Caller(job_uid=one["metadata"]["uid"], incarnation=uid, place=(0, 2))
        good = token(kubectl, "mine")
        assert await asyncio.gather(*[door.tokens(good) for _ in range(20)]) == [right] * 20
        assert door.api.reviews == 1, "they share one review"
        door.later = GOOD_SECONDS + 1
        assert await door.tokens(good) == right and door.api.reviews == 2
        assert "belongs to no TrainingJob" in str(await door.tokens(token(kubectl, "foreign")))
        assert "bound to no Pod" in str(await door.tokens(token(kubectl)))
        head, body, signature = good.split(".")
        forged = f"{head}.{body}.{signature[::-1]}"
        assert "does not accept the token" in str(await door.tokens(forged))
        before = door.api.reviews
        for cheap in (forged, "guess", "a.b.c", token(kubectl, "mine", "somebody.else")):
            assert isinstance(await door.tokens(cheap), str)
        assert door.api.reviews == before, "what cannot be ours costs the API server nothing"
        kubectl.delete("pod", "mine", "--now")
        await door.look()
        assert f"no worker Pod with uid {uid}" in str(await door.tokens(good))

    at_the_door(cluster, namespace, test)


def test_while_the_api_server_is_away_known_workers_stay_known_until_their_tokens_end(
    cluster: Cluster, kubectl: Kubectl, namespace: str, busybox: Busybox
) -> None:
    one = job(kubectl, "one")
    worker(kubectl, busybox("mine", "sleep", "600"), one)
    worker(kubectl, busybox("late", "sleep", "600"), one)

    async def test(door: Door) -> None:
        good, late = token(kubectl, "mine"), token(kubectl, "late")
        caller = await door.tokens(good)
        assert isinstance(caller, Caller)
        door.api.access = dataclasses.replace(door.api.access, server="https://127.0.0.1:1")
        for later in (GOOD_SECONDS + 1, GOOD_SECONDS + BAD_SECONDS + 2):
            door.later = later
            assert await door.tokens(good) == caller
        with pytest.raises(CannotTell, match="cannot be told now"):
            await door.tokens(late)
        door.later = 7200
        with pytest.raises(CannotTell):
            await door.tokens(good)

    at_the_door(cluster, namespace, test)


def test_the_service_leads_to_who_published_its_address_last_and_two_replicas_agree_on_one_secret(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    ports = [{"name": "grpc", "port": 7070}]
    kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "desk"}, "spec": {"ports": ports}})

    async def test(door: Door) -> None:
        for ip in ("10.9.0.1", "10.9.0.2"):
            await publish_address(door.api, namespace=namespace, service="desk", ip=ip, port=7071)
        (slice_,) = json.loads(kubectl.run("get", "endpointslice", "-o", "json"))["items"]
        assert [each["addresses"] for each in slice_["endpoints"]] == [["10.9.0.2"]]
        assert [(each["name"], each["port"]) for each in slice_["ports"]] == [("grpc", 7071)]
        first, second = await asyncio.gather(*[operator_secret(door.api, namespace) for _ in range(2)])
        assert first == second and len(first) == 32
        assert job_key(first, "a") not in (job_key(first, "b"), endpoint_token(first, "a").encode())

    at_the_door(cluster, namespace, test)
