"""What a TrainingJob owns besides its pods: host names, what workers are told, and a bound on disruptions.

`kube` applies them before it makes pods, and again when one was changed or deleted.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ringyard_api.claims import mounted_uri
from ringyard_api.defaults import resolve
from ringyard_api.loading import to_object
from ringyard_api.trainingjob import CodeSpec, ObjectMeta, RunPolicySpec, StorageSpec, TrainingJob

from ringyard_operator.resources import names, owner
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import CODE_DIR


def job_children(job: TrainingJob, setting: Setting) -> tuple[dict[str, Any], ...]:
    """The headless Service, the ConfigMap and the PodDisruptionBudget."""
    return (_headless(job), _config_map(job, setting), _budget(job))


def _headless(job: TrainingJob) -> dict[str, Any]:
    """Addresses of workers that are not ready are published too: they must find each other to become ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {names.JOB: job.metadata.name}}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, names.headless(job.metadata.name)),
        "spec": spec,
    }


def _config_map(job: TrainingJob, setting: Setting) -> dict[str, Any]:
    told = json.dumps(to_object(told_job(job)), indent=1, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job, names.config_map(job.metadata.name)),
        "data": {"job.json": told + "\n", "coordinator": setting.coordinator + "\n"},
    }


def _budget(job: TrainingJob) -> dict[str, Any]:
    """As many may go at once as the gang can miss; at least one, or a node could never be drained."""
    workers = job.spec.workers
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(job, names.budget(job.metadata.name)),
        "spec": {
            "maxUnavailable": max(1, workers.replicas - workers.min_replicas),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {names.JOB: job.metadata.name}},
        },
    }


def _metadata(job: TrainingJob, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": names.job_labels(job.metadata.name),
        "ownerReferences": [owner.reference(job)],
    }


def told_job(job: TrainingJob) -> TrainingJob:
    """The resolved job as workers read it: places as they are in the pod, and only what never changes.

    Mutable fields are at their defaults: a worker learns of changes from the coordinator, and a scaled job must not
    tell the workers of one gang different things.
    """
    spec, policy = resolve(job).spec, job.spec.run_policy
    return TrainingJob(
        metadata=ObjectMeta(name=job.metadata.name, namespace=job.metadata.namespace, uid=job.metadata.uid),
        spec=replace(
            spec,
            workers=replace(spec.workers, replicas=1, min_replicas=1, max_replicas=None, template={}),
            data=None if spec.data is None else replace(spec.data, uri=mounted_uri(spec.data.uri)),
            storage=None if spec.storage is None else StorageSpec(uri=mounted_uri(spec.storage.uri)),
            code=None if spec.code is None else CodeSpec(path=CODE_DIR),
            serve=None,
            run_policy=RunPolicySpec(queue=policy.queue, managed_by=policy.managed_by),
        ),
    )
