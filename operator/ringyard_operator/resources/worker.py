"""The Pod of one incarnation of a worker (TRAININGJOB.md §The pods behind it).

`kube.perform` creates it, a dry run of it tests the template. It knows the launch contract and the places in the pod;
when a worker is made is `plan`'s decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ringyard_api import claims, launch
from ringyard_api.trainingjob import ResourcesSpec, TrainingJob

from ringyard_operator.resources import names, owner, safety
from ringyard_operator.resources.overlay import lay
from ringyard_operator.resources.setting import Setting

CODE_DIR: Final = "/ringyard/code"
_JOB_DIR = "/ringyard/job"
_TOKEN_DIR = "/ringyard/token"
_WORKER_DIR = "/tmp/ringyard"
_GRACE_SECONDS = 30  # for a checkpoint after SIGTERM; the template may give more
_TOKEN_SECONDS = 3600
_LOST_AFTER_SECONDS = 30  # on a node that does not answer
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_QUEUE_NAME = "kueue.x-k8s.io/queue-name"
_GROUP_NAME = "kueue.x-k8s.io/pod-group-name"
_GROUP_SIZE = "kueue.x-k8s.io/pod-group-total-count"


def worker_pod(job: TrainingJob, index: int, attempt: int, setting: Setting) -> dict[str, Any]:
    """The pod, with the template laid over it. The template must be sound (`ringyard_api.podtemplate`)."""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "hostname": names.worker_host(job.metadata.name, index),
        "subdomain": names.headless(job.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": safety.pod_security(),
        "containers": [_container(job, index, attempt, setting)],
        "volumes": _volumes(job, setting),
    }
    if setting.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in setting.image_pull_secrets]
    if priority := job.spec.run_policy.priority_class_name or setting.priority_class_name:
        spec["priorityClassName"] = priority
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(job, index, attempt), "spec": spec}
    pod = lay(pod, job.spec.workers.template)
    grace = {"name": launch.GRACE, "value": str(pod["spec"]["terminationGracePeriodSeconds"])}
    next(each for each in pod["spec"]["containers"] if each["name"] == names.WORKER)["env"].append(grace)
    pod["spec"]["tolerations"] = _tolerations(pod["spec"].get("tolerations") or ())
    return pod


def _metadata(job: TrainingJob, index: int, attempt: int) -> dict[str, Any]:
    name = job.metadata.name
    labels = {**names.job_labels(name), names.INDEX: str(index), names.ATTEMPT: str(attempt)}
    metadata: dict[str, Any] = {
        "name": names.worker_pod(name, index, attempt),
        "namespace": job.metadata.namespace,
        "labels": labels,
        "ownerReferences": [owner.reference(job)],
    }
    if queue := job.spec.run_policy.queue:
        labels[_QUEUE_NAME] = queue
        labels[_GROUP_NAME] = names.pod_group(name, job.metadata.uid)
        metadata["annotations"] = {_GROUP_SIZE: str(job.spec.workers.replicas)}
    return metadata


def _container(job: TrainingJob, index: int, attempt: int, setting: Setting) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": names.WORKER,
        "image": job.spec.image or setting.trainer_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["ringyard-worker"],
        "env": _environment(job, index, attempt),
        "securityContext": safety.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(job),
    }
    resources = job.spec.workers.resources
    if resources is not None and (resources.limits or resources.requests):
        pairs = {"limits": resources.limits, "requests": resources.requests}
        container["resources"] = {
            kind: {name: str(amount) for name, amount in given.items()} for kind, given in pairs.items() if given
        }
    return container


def _environment(job: TrainingJob, index: int, attempt: int) -> list[dict[str, Any]]:
    """The launch contract; two of its values only the kubelet knows. What follows it a template may set otherwise."""
    contract = launch.WorkerLaunch(
        job=job.metadata.name,
        spec_file=f"{_JOB_DIR}/job.json",
        worker_index=index,
        incarnation="",
        attempt=attempt,
        coordinator_file=f"{_JOB_DIR}/coordinator",
        token_file=f"{_TOKEN_DIR}/token",
        run_dir=run_dir(job),
        worker_dir=_WORKER_DIR,
        host="",
    ).environment()
    told: dict[str, dict[str, Any]] = {name: {"value": value} for name, value in contract.items()}
    told[launch.INCARNATION] = _field("metadata.uid")
    told[launch.HOST] = _field("status.podIP")
    told[launch.TERMINATION_FILE] = {"value": "/dev/termination-log"}
    told[launch.OWNER_TIMEOUT] = {"value": "0"}  # training goes on while no operator lives
    if run_uri(job):
        told[launch.RUN_URI] = {"value": run_uri(job)}
    told["HOME"] = {"value": "/tmp"}  # the root file system is read-only
    told["TORCHINDUCTOR_CACHE_DIR"] = {"value": f"{_WORKER_DIR}/cache"}
    told["OMP_NUM_THREADS"] = {"value": str(_threads(job.spec.workers.resources))}
    return [{"name": name, **value} for name, value in told.items()]


def _field(path: str) -> dict[str, Any]:
    return {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def run_name(job: TrainingJob) -> str:
    """Name of the run's folder: a job made anew begins anew."""
    return f"{job.metadata.name}-{job.metadata.uid[:8]}"


def run_dir(job: TrainingJob) -> str:
    """The run's folder in a worker; without storage one that goes with the pod."""
    if job.spec.storage is None:
        return f"{_WORKER_DIR}/runs/{run_name(job)}"
    return claims.parse(job.spec.storage.uri).below(run_name(job)).mounted


def run_uri(job: TrainingJob) -> str:
    """The run's folder as everybody else names it; empty without storage."""
    return "" if job.spec.storage is None else claims.parse(job.spec.storage.uri).below(run_name(job)).uri


def _claims(job: TrainingJob) -> dict[str, bool]:
    """Names of the claims; true where the worker only reads."""
    found: dict[str, bool] = {}
    if job.spec.data is not None and claims.is_claim(job.spec.data.uri):
        found[claims.parse(job.spec.data.uri).claim] = True
    if job.spec.storage is not None:
        found[claims.parse(job.spec.storage.uri).claim] = False
    return dict(sorted(found.items()))


def _volumes(job: TrainingJob, setting: Setting) -> list[dict[str, Any]]:
    token = {"path": "token", "audience": setting.audience, "expirationSeconds": _TOKEN_SECONDS}
    volumes: list[dict[str, Any]] = [
        {"name": "ringyard-job", "configMap": {"name": names.config_map(job.metadata.name)}},
        {"name": "ringyard-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    if job.spec.code is not None and job.spec.code.config_map is not None:
        volumes.append({"name": "ringyard-code", "configMap": {"name": job.spec.code.config_map}})
    for at, claim in enumerate(_claims(job)):
        volumes.append({"name": f"ringyard-claim-{at}", "persistentVolumeClaim": {"claimName": claim}})
    return volumes


def _mounts(job: TrainingJob) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "ringyard-job", "mountPath": _JOB_DIR, "readOnly": True},
        {"name": "ringyard-token", "mountPath": _TOKEN_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if job.spec.code is not None and job.spec.code.config_map is not None:
        mounts.append({"name": "ringyard-code", "mountPath": CODE_DIR, "readOnly": True})
    for at, (claim, read_only) in enumerate(_claims(job).items()):
        place = f"{claims.MOUNT_ROOT}/{claim}"
        mounts.append({"name": f"ringyard-claim-{at}", "mountPath": place, "readOnly": read_only})
    return mounts


def _tolerations(given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of the template, and ours: a worker on a node that does not answer is given up after 30 s, not 300."""
    tolerations = [dict(each) for each in given]
    named = {each.get("key") or "" for each in tolerations if (each.get("effect") or "NoExecute") == "NoExecute"}
    ours = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_AFTER_SECONDS}
    return tolerations + [{"key": key, **ours} for key in _LOST if not named & {key, ""}]


def _threads(resources: ResourcesSpec | None) -> int:
    """Threads of one worker: whole cores that it may use, one where the manifest does not say."""
    amount = "" if resources is None else str(resources.limits.get("cpu") or resources.requests.get("cpu") or "")
    try:
        cores = float(amount.removesuffix("m")) / (1000 if amount.endswith("m") else 1)
    except ValueError:
        return 1
    return max(1, math.floor(cores)) if math.isfinite(cores) else 1
