"""The cluster that the other tests of this folder stand on does what they take for granted."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from faults import ApiServer, Nodes, processes_of
from kubectl import Kubectl
from storage_claims import Claims

Busybox = Callable[..., dict[str, Any]]
SERVE = (
    "sh",
    "-c",
    "echo ready to serve; mkdir -p /tmp/w; echo $HOSTNAME > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w",
)


def running(kubectl: Kubectl, pod: str) -> None:
    kubectl.wait_until(lambda: kubectl.get("pod", pod)["status"].get("phase") == "Running", f"pod {pod} Running", 60)


def test_a_pod_finds_a_service_by_its_name_and_speaks_through_logs_exec_and_port_forward(
    kubectl: Kubectl, busybox: Busybox
) -> None:
    kubectl.apply(
        [
            busybox("web", *SERVE, labels={"app": "web"}),
            busybox("asks", "sleep", "600"),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "door"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        ]
    )
    for pod in ("web", "asks"):
        running(kubectl, pod)
    assert kubectl.logs("web") == "ready to serve\n"
    told = kubectl.wait_until(
        lambda: kubectl.exec("asks", "timeout", "5", "wget", "-qO-", f"http://door.{kubectl.namespace}.svc").stdout,
        "an answer through the Service",
        30,
    )
    assert told == "web\n"
    assert kubectl.exec("asks", "sh", "-c", "exit 9").returncode == 9
    with kubectl.forwarded("service/door", 80) as address:
        assert urllib.request.urlopen(f"http://{address}/", timeout=10).read() == b"web\n"


def test_a_claim_is_shared_by_pods_and_outlives_them(kubectl: Kubectl, busybox: Busybox, claim: Claims) -> None:
    volume = [{"name": "it", "persistentVolumeClaim": {"claimName": claim("models")}}]
    for name, command in (("writes", "echo kept > /it/x"), ("reads", "cat /it/x")):
        pod = busybox(name, "sh", "-c", command, volumes=volume)
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "it", "mountPath": "/it"}]
        kubectl.apply(pod)
        kubectl.wait_until(
            lambda name=name: kubectl.get("pod", name)["status"]["phase"] == "Succeeded", f"{name} done", 60
        )
        if name == "writes":
            kubectl.delete("pod", name)
    assert kubectl.logs("reads") == "kept\n"


@pytest.mark.destructive
def test_gpus_are_given_out_until_there_are_none(kubectl: Kubectl, busybox: Busybox) -> None:
    for name, gpus in (("takes", 8), ("wants", 25)):
        kubectl.apply(busybox(name, "sleep", "600", resources={"limits": {"nvidia.com/gpu": gpus}}))
    running(kubectl, "takes")
    refused = kubectl.until_condition("pod", "wants", "PodScheduled", "False", 30)
    assert refused["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in refused["message"]


@pytest.mark.destructive
def test_a_node_without_power_is_found_out_and_comes_back(kubectl: Kubectl, busybox: Busybox, nodes: Nodes) -> None:
    kubectl.apply(busybox("lives-there", "sleep", "600", nodeName="node3"))
    running(kubectl, "lives-there")
    assert processes_of(kubectl.get("pod", "lives-there"))
    nodes.crash("node3")
    assert not processes_of(kubectl.get("pod", "lives-there"))
    kubectl.until_condition("node", "node3", "Ready", "Unknown", 60)
    nodes.mend("node3")
    kubectl.apply(busybox("lives-again", "sleep", "600", nodeName="node3"))
    running(kubectl, "lives-again")


@pytest.mark.destructive
def test_pods_live_on_while_the_api_server_is_away(kubectl: Kubectl, busybox: Busybox, apiserver: ApiServer) -> None:
    kubectl.apply(busybox("stays", "sleep", "600"))
    running(kubectl, "stays")
    before = processes_of(kubectl.get("pod", "stays"))
    apiserver.stop()
    assert kubectl.ask("get", "pods", "--request-timeout=3s").returncode
    apiserver.start()
    assert processes_of(kubectl.get("pod", "stays")) == before
