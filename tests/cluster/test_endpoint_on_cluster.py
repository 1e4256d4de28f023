"""A ModelEndpoint by itself: it serves a model that was trained elsewhere, and no change of it costs a request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import served_models
from installed_operator import InstalledOperator
from kubectl import Kubectl
from storage_claims import Claims
from triton_in_cluster import TritonClient

Endpoint = Callable[..., dict[str, Any]]


class Shelf:
    """Models on a claim, as somebody else's training left them."""

    def __init__(self, claim: Claims) -> None:
        if claim.folder is None:
            pytest.skip("the claims of this cluster are not on this machine, so no model can be put there")
        self.folder = claim.path(claim("models"))
        self.digests: dict[int, str] = {}

    def model(self, number: int) -> dict[str, Any]:
        """A version's entry, with a model that is its own."""
        if number not in self.digests:
            self.digests[number] = served_models.softmax(self.folder / str(number), seed=number)
        return {"version": str(number), "uri": f"pvc://models/{number}", "digest": self.digests[number]}


@pytest.fixture
def shelf(claim: Claims) -> Shelf:
    return Shelf(claim)


def endpoint(*versions: dict[str, Any], replicas: int = 1) -> dict[str, Any]:
    """The last version has all requests."""
    entries = [{**each, "weight": 100 if each is versions[-1] else 0} for each in versions]
    numbers = [int(each["version"]) for each in versions]
    spec = {"replicas": replicas, "versions": entries, "lastVersion": max(numbers, default=0)}
    return {
        "apiVersion": "ringyard.dev/v1alpha1",
        "kind": "ModelEndpoint",
        "metadata": {"name": "flowers"},
        "spec": spec,
    }


def phases(kubectl: Kubectl) -> dict[str, str]:
    status = kubectl.get("mep", "flowers").get("status", {})
    return {each["version"]: each["phase"] for each in status.get("versions", [])}


def until_says(kubectl: Kubectl, reason: str, *parts: str) -> dict[str, Any]:
    """Waits until Available has that reason and its message these parts."""

    def met() -> dict[str, Any]:
        one = kubectl.condition("mep", "flowers", "Available")
        return one if one.get("reason") == reason and all(part in one["message"] for part in parts) else {}

    found: dict[str, Any] = kubectl.wait_until(met, f"Available of flowers is {reason}, with {parts}")
    return found


def servers(kubectl: Kubectl) -> list[dict[str, Any]]:
    return kubectl.all("pods", "ringyard.dev/endpoint=flowers")


def test_a_model_from_elsewhere_is_served_and_swap_scaling_and_a_rollout_cost_no_request(
    operator: InstalledOperator, kubectl: Kubectl, shelf: Shelf
) -> None:
    kubectl.apply(endpoint(shelf.model(1)))
    until_says(kubectl, "Serving", "version 1 answers")
    made = kubectl.get("mep", "flowers")
    assert made["status"]["url"] == f"grpc://flowers.{kubectl.namespace}.svc:8001"
    client = TritonClient(kubectl, "client")
    where = made["status"]["url"].removeprefix("grpc://")

    def undisturbed(change: Callable[[], object], what: str) -> set[str]:
        """Calls without pause while `change` happens; the versions that answered."""
        calls = client.calls(where, "flowers", "label")
        try:
            change()
            answers, failures = calls.end()
        finally:
            calls.kill()
        print(f"{what}: answers by version {answers}, failures {len(failures)}")
        assert failures == []
        return set(answers)

    def swap() -> None:
        kubectl.apply(endpoint(shelf.model(1), shelf.model(2)))
        kubectl.wait_until(lambda: phases(kubectl) == {"1": "READY", "2": "READY"}, "both versions ready")
        kubectl.exec("client", "sleep", "1")

    def scale(to: int) -> None:
        kubectl.scale("mep", "flowers", to)
        kubectl.wait_until(lambda: kubectl.get("mep", "flowers")["status"].get("replicas") == to, f"{to} servers")
        kubectl.wait_until(lambda: len(servers(kubectl)) == to, "no pod but these")

    def roll() -> None:
        before = {pod["metadata"]["name"] for pod in servers(kubectl)}
        kubectl.run("rollout", "restart", "deployment/flowers-servers")
        kubectl.run("rollout", "status", "deployment/flowers-servers", "--timeout=200s", timeout=220)
        kubectl.wait_until(lambda: not before & {pod["metadata"]["name"] for pod in servers(kubectl)}, "old pods gone")

    assert undisturbed(swap, "a new version") == {"1", "2"}
    undisturbed(lambda: scale(2), "from one server to two")
    assert {pod["status"]["phase"] for pod in servers(kubectl)} == {"Running"}
    assert undisturbed(roll, "a rolling update of two servers") == {"2"}
    undisturbed(lambda: scale(1), "from two servers to one")
    printed = kubectl.run("get", "mep", "flowers").split()
    for cell in (made["status"]["url"], "1,2", "0,100", "1/1"):
        assert cell in printed


def test_what_an_endpoint_owns_comes_back_and_goes_with_it_and_foreign_things_stay(
    operator: InstalledOperator, kubectl: Kubectl, shelf: Shelf
) -> None:
    mine = {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "mine"}}
    kubectl.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "flowers"}, "spec": mine})
    kubectl.apply(endpoint(shelf.model(1)))
    until_says(kubectl, "ForeignChild", "Service flowers exists and is not this endpoint's")
    assert kubectl.get("service", "flowers")["spec"]["selector"] == {"app": "mine"}

    kubectl.delete("service", "flowers")
    until_says(kubectl, "Serving")
    owned = {
        "deployment": "flowers-servers",
        "service": "flowers",
        "configmap": "flowers-versions",
        "poddisruptionbudget": "flowers-servers",
    }
    for kind, name in owned.items():
        before = kubectl.get(kind, name)["metadata"]["uid"]
        kubectl.delete(kind, name)
        kubectl.wait_until(
            lambda kind=kind, name=name, before=before: (
                (kubectl.find(kind, name) or {"metadata": {"uid": before}})["metadata"]["uid"] != before
            ),
            f"{kind} {name} comes back",
        )
    kubectl.patch("configmap", "flowers-versions", {"data": {"wanted.json": "{}"}})
    kubectl.wait_until(
        lambda: json.loads(kubectl.get("configmap", "flowers-versions")["data"]["wanted.json"]).get("versions"),
        "what somebody wrote into it is put right",
    )
    until_says(kubectl, "Serving")

    kubectl.delete("mep", "flowers")
    for kind, name in owned.items():
        kubectl.wait_until(lambda kind=kind, name=name: kubectl.find(kind, name) is None, f"{kind} {name} goes")
    kubectl.wait_until(lambda: servers(kubectl) == [], "its servers go")


def test_why_it_does_not_serve_is_one_sentence_and_what_served_goes_on(
    operator: InstalledOperator, kubectl: Kubectl, shelf: Shelf
) -> None:
    one, two = shelf.model(1), shelf.model(2)
    kubectl.apply(endpoint({**one, "uri": "pvc://nowhere/1"}))
    until_says(kubectl, "VolumeUnavailable", "PersistentVolumeClaim nowhere does not exist", "create it")
    kubectl.apply(endpoint({**one, "uri": "s3://bucket/1"}))
    until_says(kubectl, "NotSupported", "spec.versions[0].uri: must be pvc://CLAIM/PATH")

    kubectl.apply(endpoint(one))
    until_says(kubectl, "Serving", "version 1 answers")
    damaged = Path(shelf.folder / "2")
    (damaged / "model.pt2").write_bytes(b"another program")
    kubectl.apply(endpoint(one, two))
    until_says(kubectl, "Degraded", "version 1 answers, but version 2 is not served", "digest mismatch")
    assert phases(kubectl) == {"1": "READY", "2": "FAILED"}

    shutil.rmtree(damaged)
    shelf.digests.clear()
    assert shelf.model(2) == two, "the same model, whole again"
    kubectl.patch("mep", "flowers", {"spec": {"replicas": 1, "versions": endpoint(two)["spec"]["versions"]}})
    until_says(kubectl, "Serving", "version 2 answers")
    told = [event["reason"] for event in kubectl.events("flowers")]
    assert len(told) <= 2 + len(set(told)) * 2, f"an event a change, not a stream: {told}"
