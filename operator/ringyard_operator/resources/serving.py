"""What a ModelEndpoint owns: model servers, the Services that lead to them, what they hold and who may tell them.

`kube.endpointkeeper` applies it. A new version changes the ConfigMap only: the servers load it beside the old one, and
their pods stay, unless it lies on a claim that they have not mounted.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from ringyard_api import claims
from ringyard_api.modelendpoint import ModelEndpoint

from ringyard_operator.resources import names, owner, safety
from ringyard_operator.resources.setting import Setting

GRPC_PORT: Final = 8001  # as Triton's clients expect it
METRICS_PORT: Final = 8002
_WANTED_DIR = "/ringyard/endpoint"
_STORE_SECONDS = 60  # a claim's folder on another node may show a new artifact so much later
_CONNECTION_SECONDS = 10  # gRPC's clients stay on one connection; it may last a tenth longer
_DRAIN_SECONDS = 15  # within it kube-proxies learn that the pod goes, and then each client has connected anew
_GRACE_SECONDS = 25
_SLACK_SECONDS = 5


def endpoint_children(endpoint: ModelEndpoint, setting: Setting, token: str) -> tuple[dict[str, Any], ...]:
    """The ConfigMap first, then the Services, the budget and the Deployment. `token`: what the owner shows.

    Servers are given its digest, which is no secret: so the operator needs no right to Secrets in users' namespaces.
    """
    return (
        _config_map(endpoint, token),
        _service(endpoint, headless=False),
        _service(endpoint, headless=True),
        _budget(endpoint),
        _deployment(endpoint, setting),
    )


def wanted_json(endpoint: ModelEndpoint) -> dict[str, Any]:
    """What the servers shall hold, as they read it and as it is pushed to them: places as they are in their pods."""
    versions = [
        {"version": each.version, "uri": _place(each.uri), "digest": each.digest, "weight": each.weight}
        for each in endpoint.spec.versions
    ]
    return {"model": endpoint.metadata.name, "generation": endpoint.metadata.generation, "versions": versions}


def selector(endpoint: str) -> dict[str, str]:
    """Labels that every server of the endpoint has, and nothing else."""
    return {names.ENDPOINT: endpoint, "app.kubernetes.io/component": names.SERVER}


def _place(uri: str) -> str:
    """A URI that is none stays as it is: the server says of it what is wrong."""
    try:
        return claims.mounted_uri(uri)
    except ValueError:
        return uri


def _claims(endpoint: ModelEndpoint) -> tuple[str, ...]:
    found = set()
    for version in endpoint.spec.versions:
        try:
            found.add(claims.parse(version.uri).claim)
        except ValueError:
            continue
    return tuple(sorted(found))


def _object(endpoint: ModelEndpoint, api_version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": endpoint.metadata.namespace,
        "labels": names.endpoint_labels(endpoint.metadata.name),
        "ownerReferences": [owner.reference(endpoint)],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _config_map(endpoint: ModelEndpoint, token: str) -> dict[str, Any]:
    wanted = json.dumps(wanted_json(endpoint), indent=1) + "\n"
    data = {"wanted.json": wanted, "token": f"sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"}
    return _object(endpoint, "v1", "ConfigMap", names.wanted(endpoint.metadata.name), data=data)


def _service(endpoint: ModelEndpoint, *, headless: bool) -> dict[str, Any]:
    """The headless one is for clients that balance by themselves: it names the servers that are ready."""
    name = endpoint.metadata.name
    ports = [
        {
            "name": "grpc",
            "port": GRPC_PORT,
            "targetPort": "grpc",
            "protocol": "TCP",
            "appProtocol": "kubernetes.io/h2c",
        },
        {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
    ]
    spec: dict[str, Any] = {"selector": selector(name), "ports": ports}
    if headless:
        spec["clusterIP"] = "None"
    return _object(endpoint, "v1", "Service", names.servers(name) if headless else names.service(name), spec=spec)


def _budget(endpoint: ModelEndpoint) -> dict[str, Any]:
    name = endpoint.metadata.name
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector(name)},
    }
    return _object(endpoint, "policy/v1", "PodDisruptionBudget", names.servers(name), spec=spec)


def _deployment(endpoint: ModelEndpoint, setting: Setting) -> dict[str, Any]:
    name = endpoint.metadata.name
    spec = {
        "replicas": endpoint.spec.replicas,
        "selector": {"matchLabels": selector(name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": names.endpoint_labels(name)}, "spec": _pod(endpoint, setting)},
    }
    return _object(endpoint, "apps/v1", "Deployment", names.servers(name), spec=spec)


def _pod(endpoint: ModelEndpoint, setting: Setting) -> dict[str, Any]:
    name = endpoint.metadata.name
    apart = {"labelSelector": {"matchLabels": selector(name)}, "topologyKey": "kubernetes.io/hostname"}
    volumes: list[dict[str, Any]] = [
        {"name": "wanted", "configMap": {"name": names.wanted(name)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    for at, claim in enumerate(_claims(endpoint)):
        volumes.append({"name": f"claim-{at}", "persistentVolumeClaim": {"claimName": claim}})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _DRAIN_SECONDS + _GRACE_SECONDS + _SLACK_SECONDS,
        "securityContext": safety.pod_security(),
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
            }
        },
        "containers": [_container(endpoint, setting)],
        "volumes": volumes,
    }
    if setting.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": each} for each in setting.image_pull_secrets]
    if setting.priority_class_name:
        pod["priorityClassName"] = setting.priority_class_name
    return pod


def _container(endpoint: ModelEndpoint, setting: Setting) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        {"name": "wanted", "mountPath": _WANTED_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    for at, claim in enumerate(_claims(endpoint)):
        mounts.append({"name": f"claim-{at}", "mountPath": f"{claims.MOUNT_ROOT}/{claim}", "readOnly": True})
    return {
        "name": names.SERVER,
        "image": setting.serving_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "ringyard_serving"],
        "args": _arguments(endpoint.metadata.name),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        # grpc.health.v1 says NOT_SERVING while no version is ready, which is no reason to kill a server.
        "startupProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {"grpc": {"port": GRPC_PORT}, "periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 2},
        "livenessProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 10, "failureThreshold": 3},
        "securityContext": safety.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _arguments(endpoint: str) -> list[str]:
    options = {
        "endpoint": endpoint,
        "wanted": f"{_WANTED_DIR}/wanted.json",
        "token-file": f"{_WANTED_DIR}/token",
        "host": "0.0.0.0",
        "port": GRPC_PORT,
        "metrics-port": METRICS_PORT,
        "cache": "/tmp/models",
        "owner-timeout": 0,
        "store-seconds": _STORE_SECONDS,
        "connection-seconds": _CONNECTION_SECONDS,
        "drain-seconds": _DRAIN_SECONDS,
        "grace-seconds": _GRACE_SECONDS,
    }
    return [f"--{name}={value}" for name, value in options.items()]
