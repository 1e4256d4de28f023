"""Names and labels of everything that we make on a cluster: deterministic, so that a repeated create finds our own.

`resources` writes them, `kube` selects by them. A name that would pass 63 characters (the limit of a host name and of
a label's value) is cut and gets 8 digits of a hash of the whole.
"""

from __future__ import annotations

import hashlib
from typing import Final

LONGEST = 63

JOB: Final = "ringyard.dev/job"
INDEX: Final = "ringyard.dev/index"
ATTEMPT: Final = "ringyard.dev/attempt"
ENDPOINT: Final = "ringyard.dev/endpoint"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
RINGYARD: Final = "ringyard"
WORKER: Final = "worker"  # the component, and the container's name
SERVER: Final = "server"
OURS: Final = f"{MANAGED_BY}={RINGYARD}"  # a label selector


def fitted(stem: str, suffix: str = "") -> str:
    """`stem` and `suffix` as one name of at most 63 characters."""
    if len(stem) + len(suffix) <= LONGEST:
        return stem + suffix
    digits = hashlib.sha256(stem.encode()).hexdigest()[:8]
    return f"{stem[: LONGEST - len(suffix) - 9].rstrip('-')}-{digits}{suffix}"


def worker_pod(job: str, index: int, attempt: int) -> str:
    """The Pod of one incarnation."""
    return fitted(job, f"-{index}-{attempt}")


def worker_host(job: str, index: int) -> str:
    """Host name of a worker, the same for all its incarnations."""
    return fitted(job, f"-{index}")


def headless(job: str) -> str:
    """The Service that gives workers their host names."""
    return fitted(job, "-workers")


def config_map(job: str) -> str:
    """The ConfigMap with what workers are told."""
    return fitted(job, "-job")


def budget(job: str) -> str:
    """The PodDisruptionBudget of the workers."""
    return fitted(job, "-workers")


def pod_group(job: str, uid: str) -> str:
    """Kueue's pod group: of this run, not of a later job of the same name."""
    return fitted(job, f"-{uid[:8]}")


def service(endpoint: str) -> str:
    """The Service that clients call: named like the endpoint."""
    return endpoint


def servers(endpoint: str) -> str:
    """The Deployment, the headless Service and the PodDisruptionBudget of the model servers."""
    return fitted(endpoint, "-servers")


def wanted(endpoint: str) -> str:
    """The ConfigMap with the wanted versions."""
    return fitted(endpoint, "-versions")


def job_labels(job: str) -> dict[str, str]:
    """Labels of everything that belongs to a job."""
    return {JOB: job, **_recommended("ringyard-trainingjob", job, WORKER)}


def endpoint_labels(endpoint: str) -> dict[str, str]:
    """Labels of everything that belongs to an endpoint."""
    return {ENDPOINT: endpoint, **_recommended("ringyard-modelendpoint", endpoint, SERVER)}


def _recommended(name: str, instance: str, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        MANAGED_BY: RINGYARD,
    }
