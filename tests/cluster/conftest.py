"""The fixtures of the behaviour tests on a real Kubernetes: the cluster, a namespace, storage, faults, the operator.

Without a cluster all of them are skipped for one stated reason (`make cluster-test` fails instead). Tests marked
`destructive` break nodes or the API server: they need a cluster of our own, and are skipped on anybody else's.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_at_hand import Cluster, cluster_at_hand
from faults import ApiServer, Nodes
from installed_operator import InstalledOperator
from kubectl import Kubectl
from storage_claims import Claims

HERE = Path(__file__).parent
LONGEST = 600  # seconds of one test: pods start, nodes are found dead


@functools.cache
def at_hand() -> Cluster | str:
    return cluster_at_hand()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    found = at_hand()
    if isinstance(found, str) and os.environ.get("CLUSTER_REQUIRED"):
        raise pytest.UsageError(found)
    for item in ours:
        item.add_marker(pytest.mark.cluster)
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONGEST))
        if isinstance(found, str):
            item.add_marker(pytest.mark.skip(reason=found))
        elif item.get_closest_marker("destructive") and not found.ours:
            item.add_marker(
                pytest.mark.skip(reason="destructive: breaks nodes or the API server of a cluster of `make cluster-up`")
            )


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = at_hand()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def namespaces(cluster: Cluster) -> Iterator[list[str]]:
    """Those that tests made. Deletion is asked for at the test's end, waited for at the session's: nothing hangs."""
    made: list[str] = []
    yield made
    if made:
        cluster.kubectl.run("delete", "namespace", "--ignore-not-found", "--timeout=120s", *made, timeout=150)


@pytest.fixture
def namespace(cluster: Cluster, namespaces: list[str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace where only pods run that pass Pod Security `restricted`; deleted with all in it at the end."""
    told = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    name = f"{told}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "ringyard.dev/test": "true"}
    cluster.kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    inside = cluster.kubectl.within(name)
    inside.wait_until(lambda: inside.find("serviceaccount", "default"), "the default ServiceAccount", 30)
    yield name
    namespaces.append(name)
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""
    return cluster.kubectl.within(namespace)


@pytest.fixture
def claim(cluster: Cluster, namespace: str) -> Iterator[Claims]:
    """`claim("models")` makes a PersistentVolumeClaim of that name; `claim.path("models")` is its folder on ours."""
    made = Claims(cluster, namespace)
    yield made
    made.remove()


# Faults are mended before the namespace goes, hence their need of it.
@pytest.fixture
def nodes(cluster: Cluster, namespace: str) -> Iterator[Nodes]:
    """Nodes to break; for tests marked `destructive`."""
    assert cluster.state, "mark the test `destructive`"
    made = Nodes(cluster.state, cluster.kubectl)
    yield made
    made.mend_all()


@pytest.fixture
def apiserver(cluster: Cluster, namespace: str) -> Iterator[ApiServer]:
    """The API server to stop; for tests marked `destructive`."""
    assert cluster.state, "mark the test `destructive`"
    made = ApiServer(cluster.state, cluster.kubectl)
    yield made
    made.start()


@pytest.fixture
def operator(cluster: Cluster) -> InstalledOperator:
    """The operator that `make deploy` installed."""
    found = InstalledOperator(cluster.kubectl)
    found.must_be_there()
    return found


@pytest.fixture
def busybox(cluster: Cluster) -> Callable[..., dict[str, object]]:
    """`busybox("name", "sh", "-c", "…", labels={…}, nodeName=…)`: a pod with a shell that passes `restricted`."""

    def pod(name: str, *command: str, labels: dict[str, str] | None = None, **spec: object) -> dict[str, object]:
        container = {
            "name": "main",
            "image": cluster.busybox,
            "command": list(command),
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "resources": spec.pop("resources", {}),
        }
        secure = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "securityContext": secure,
                "containers": [container],
                **spec,
            },
        }

    return pod
