"""The operator as it is installed in the cluster: its pods, its words, who of them is in office."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from faults import processes_of
from kubectl import OPERATOR, OPERATOR_NAMESPACE, Kubectl


class InstalledOperator:
    """The Deployment of `make deploy`."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl.within(OPERATOR_NAMESPACE)

    def must_be_there(self) -> None:
        assert self.kubectl.find("deployment", OPERATOR), (
            f"there is no Deployment {OPERATOR} in {OPERATOR_NAMESPACE}: `make deploy` installs it"
        )
        self.kubectl.wait_until(self.available, "an operator that is available", 60)

    def available(self) -> bool:
        return self.kubectl.condition("deployment", OPERATOR, "Available").get("status") == "True"

    def pods(self) -> list[dict[str, Any]]:
        """Its living pods, the oldest first."""
        chosen = self.kubectl.get("deployment", OPERATOR)["spec"]["selector"]["matchLabels"]
        found = self.kubectl.all("pods", ",".join(f"{key}={value}" for key, value in chosen.items()))
        living = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def leader(self) -> str:
        """The name of the pod that holds the Lease; "" where nobody does."""
        lease = self.kubectl.find("lease", OPERATOR) or {}
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        names = [str(pod["metadata"]["name"]) for pod in self.pods()]
        return next((name for name in names if holder.startswith(name)), "")

    def kill(self, pod: str) -> None:
        """SIGKILL, then the pod's deletion: the Deployment makes another at once, no back-off of crashes comes between.

        On a cluster that is not ours there is only the deletion, which gives it a second.
        """
        for pid in processes_of(self.kubectl.get("pod", pod)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kubectl.run("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    def logs(self, tail: int = 200) -> str:
        return self.kubectl.run("logs", f"deployment/{OPERATOR}", "--all-pods", "--prefix", f"--tail={tail}")
