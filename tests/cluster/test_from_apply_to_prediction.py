"""`kubectl apply` of one manifest to a prediction through the Service, and its successor under load."""

from __future__ import annotations

from typing import Any

from installed_operator import InstalledOperator
from jobs_on_cluster import TRAINER, Job, manifest
from kubectl import Kubectl
from storage_claims import Claims
from triton_in_cluster import TritonClient, from_here


def iris(name: str, epochs: int) -> dict[str, Any]:
    return manifest(
        name,
        {
            "image": TRAINER,
            "workers": {"replicas": 2},
            "model": {"factory": "ringyard_trainer.models:mlp", "args": {"hidden": [16], "classes": 3}},
            "data": {
                "uri": "sklearn://iris",
                "split": {"test": 0.2, "seed": 7, "stratify": True},
                "preprocess": [{"standardize": {}}],
            },
            "fit": {"epochs": epochs, "batchSize": 16, "optimizer": {"name": "adam", "lr": 0.01}},
            "storage": {"uri": "pvc://models/runs"},
            "evaluate": {"metrics": ["accuracy"], "gate": [{"metric": "accuracy", "atLeast": 0.6}]},
            "serve": {"endpoint": "flowers", "replicas": 1},
        },
    )


def test_two_jobs_publish_into_one_endpoint_and_no_request_fails(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims
) -> None:
    claim("models")
    first = Job(kubectl, iris("first", 60))
    end = first.until_ended()
    assert end["reason"] == "Completed" and "version 1" in end["message"]
    printed = kubectl.run("get", "tj", "first")
    for heading in ("STATE", "WORKERS", "STEP", "PROGRESS", "LOSS", "ENDPOINT", "AGE"):
        assert heading in printed.splitlines()[0]
    assert "Completed" in printed and "flowers" in printed and "100%" in printed

    endpoint = kubectl.get("mep", "flowers")
    assert "ownerReferences" not in endpoint["metadata"], "it outlives the job"
    url = endpoint["status"]["url"]
    assert url == f"grpc://flowers.{kubectl.namespace}.svc:8001"
    inside = TritonClient(kubectl, "client").calls(url.removeprefix("grpc://"), "flowers", "label")
    try:
        with kubectl.forwarded("service/flowers", 8001) as address:
            through = from_here(address, "flowers", "label")
            second = Job(kubectl, iris("second", 5))
            end = second.until_ended()
            assert "version 2" in end["message"]
            kubectl.delete("tj", "first")
            kubectl.wait_until(lambda: len(kubectl.all("pods", "ringyard.dev/job=first")) == 0, "its pods go with it")
            by_port_forward, failures = through.end()
            assert failures == [] and set(by_port_forward) == {"1", "2"}
        by_service, failures = inside.end()
    finally:
        inside.kill()
    assert failures == [] and set(by_service) == {"1", "2"}
    print(f"answers inside: {by_service}, by port-forward: {by_port_forward}, 0 failures")

    printed = kubectl.run("get", "mep", "flowers")
    assert url in printed and "1,2" in printed.replace(" ", "").replace("[", "").replace("]", "").replace('"', "")
    assert {pod["status"]["phase"] for pod in kubectl.all("pods", "ringyard.dev/endpoint=flowers")} == {"Running"}
    assert kubectl.condition("mep", "flowers", "Available")["status"] == "True"
