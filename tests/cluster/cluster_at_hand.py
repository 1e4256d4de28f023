"""Which cluster the tests of tests/cluster run against, and why none where there is none.

With KUBECONFIG set: that one (1.33 or later). Else the one of `make cluster-up`, if it is up. A kubeconfig with a
`settings` file beside it is one of ours, whose nodes and API server may be broken and mended (faults.py).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

from kubectl import Kubectl

OLDEST = (1, 33)
OURS = "kc.test/busybox:1"
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that answers."""

    kubectl: Kubectl  # in no namespace
    version: tuple[int, int]
    state: Path | None  # folder of our own throw-away cluster; None = somebody else's cluster
    volumes: Path | None  # folder of this machine that all its nodes see, if it has one
    busybox: str  # an image with a shell that its nodes have or can pull

    @property
    def ours(self) -> bool:
        return self.state is not None


def cache() -> Path:
    """Where hack/cluster keeps binaries and state, outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("RINGYARD_CACHE") or f"{base}/ringyard") / "cluster"


def state_folder() -> Path:
    return Path(os.environ.get("CLUSTER_STATE") or cache() / "state")


def kubectl_binary() -> str | None:
    """Ours, of the version that the cluster has; else the machine's."""
    ours = Path(os.environ.get("CLUSTER_BIN") or cache() / "bin") / "kubectl"
    return str(ours) if os.access(ours, os.X_OK) else shutil.which("kubectl")


def cluster_at_hand() -> Cluster | str:
    """The cluster, or in one sentence why there is none."""
    wanted = os.environ.get("KUBECONFIG", "")
    kubeconfig = wanted or str(state_folder() / "admin.kubeconfig")
    if not wanted and not Path(kubeconfig).is_file():
        return "no cluster: `make cluster-up` makes one (root, Go, Debian), or set KUBECONFIG to one of yours"
    binary = kubectl_binary()
    if binary is None:
        return "no kubectl: install one, or let `make cluster-up` build one"
    kubectl = Kubectl(binary, kubeconfig)
    told = kubectl.ask("get", "--raw", "/version", "--request-timeout=10s", timeout=30)
    if told.returncode:
        remedy = "set KUBECONFIG to one that does" if wanted else "`make cluster-up` mends it"
        return f"no cluster: that of {kubeconfig} does not answer: {remedy}"
    found = json.loads(told.stdout)
    version = (int(found["major"]), int(found["minor"].rstrip("+")))
    if version < OLDEST:
        return f"the cluster of {kubeconfig} is Kubernetes {found['gitVersion']}: Ringyard needs 1.33 or later"
    beside = Path(kubeconfig).parent if ":" not in kubeconfig else None
    state = beside if beside and (beside / "settings").is_file() else None
    nodes = kubectl.run("get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names}")
    return Cluster(
        kubectl=kubectl,
        version=version,
        state=state,
        volumes=beside / "pv" if beside and (beside / "pv").is_dir() else None,
        busybox=os.environ.get("CLUSTER_BUSYBOX") or (OURS if OURS in nodes else "busybox:1.36"),
    )
