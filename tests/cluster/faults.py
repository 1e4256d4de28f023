"""Faults that the destructive tests cause on a cluster of our own: nodes without power or network, no API server.

Whatever a test broke is mended when it ends, and waited for, so that the next test finds three Ready nodes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster_at_hand import ROOT
from kubectl import Kubectl


def harness(state: Path, script: str, *words: str) -> str:
    """Runs one of hack/cluster's scripts on the cluster of that state folder."""
    done = subprocess.run(
        [str(ROOT / "hack" / "cluster" / script), *words],
        env={**os.environ, "CLUSTER_STATE": str(state)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"hack/cluster/{script} {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


class Nodes:
    """The three nodes: `node1`, `node2`, `node3`."""

    def __init__(self, state: Path, kubectl: Kubectl) -> None:
        self.state, self.kubectl = state, kubectl
        self.harmed: set[str] = set()

    def names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.kubectl.all("nodes"))

    def of_pod(self, kubectl: Kubectl, pod: str) -> str:
        """The node that a pod runs on."""
        return str(kubectl.get("pod", pod)["spec"]["nodeName"])

    def crash(self, node: str) -> None:
        """The power cord: SIGKILL to everything on the node."""
        self.harm("crash", node)

    def partition(self, node: str) -> None:
        """The network cable: the node and its pods live on, unseen."""
        self.harm("partition", node)

    def kubelet_stop(self, node: str) -> None:
        """The kubelet is killed: the node is NotReady, its pods live and talk."""
        self.harm("kubelet-stop", node)

    def mend(self, node: str) -> None:
        """Undoes what was done to it and waits until the node is Ready."""
        for word in ("start", "heal"):
            harness(self.state, "node", word, node.removeprefix("node"))
        self.harmed.discard(node)
        self.kubectl.wait_until(lambda: self.ready(node), f"{node} Ready again", 90)

    def ready(self, node: str) -> bool:
        return self.kubectl.condition("node", node, "Ready").get("status") == "True"

    def harm(self, word: str, node: str) -> None:
        self.harmed.add(node)
        harness(self.state, "node", word, node.removeprefix("node"))

    def mend_all(self) -> None:
        for node in sorted(self.harmed):
            self.mend(node)


class ApiServer:
    """The API server: `stop` is a SIGKILL, everything else lives on."""

    def __init__(self, state: Path, kubectl: Kubectl) -> None:
        self.state, self.kubectl = state, kubectl

    def stop(self) -> None:
        harness(self.state, "apiserver", "stop")

    def start(self) -> None:
        """Starts it where it is down, and waits until it is ready."""
        harness(self.state, "apiserver", "start")


def processes_of(pod: Mapping[str, Any]) -> dict[int, str]:
    """The pod's processes as this machine knows them, pid -> command line: for signals that come from nowhere."""
    mark = f"/pod{pod['metadata']['uid']}/".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "cgroup").read_bytes():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(entry.name)] = command
        except OSError:
            continue
    return {pid: command for pid, command in sorted(found.items()) if command and command != "/pause"}
