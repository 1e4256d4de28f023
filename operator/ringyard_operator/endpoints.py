"""Which versions an endpoint should hold, with which weights, after a job has published a model (SERVING.md §Versions).

Called by whoever publishes: locally the supervisor, on a cluster the operator. A number is given once, never reused,
the same digest keeps its number, and nothing is loaded here.
"""

from __future__ import annotations

from dataclasses import replace

from ringyard_api.modelendpoint import (
    CREATED_BY,
    TRAININGJOB,
    ModelEndpoint,
    ModelEndpointSpec,
    ModelEndpointStatus,
    ModelVersion,
)
from ringyard_api.trainingjob import ObjectMeta, TrainingJob

from ringyard_operator.observed import EndpointSeen

KEPT = 2  # the newest, and the one before it for a way back


def publish(present: ModelEndpoint | None, job: TrainingJob, *, name: str, uri: str, digest: str) -> ModelEndpoint:
    """The endpoint as it should be once the artifact is in it; `present` unchanged where it is in it already.

    The job's `serve` block is followed only where a TrainingJob made the endpoint: somebody else's is not changed.
    """
    if present is None:
        labels = {CREATED_BY: TRAININGJOB}
        present = ModelEndpoint(metadata=ObjectMeta(name=name, labels=labels), spec=ModelEndpointSpec())
    elif any(version.digest == digest for version in present.spec.versions):
        return present
    spec = _followed(present.spec, job) if present.metadata.labels.get(CREATED_BY) == TRAININGJOB else present.spec
    return replace(present, spec=with_version(spec, uri=uri, digest=digest, job=job.metadata.name))


def with_version(spec: ModelEndpointSpec, *, uri: str, digest: str, job: str) -> ModelEndpointSpec:
    """The wanted versions with one more, which gets all requests; older ones than the last two are let go."""
    given = [int(version.version) for version in spec.versions]
    number = max([spec.last_version, *given]) + 1
    older = tuple(replace(version, weight=0) for version in spec.versions)
    newest = ModelVersion(version=str(number), uri=uri, digest=digest, job=job, weight=100)
    return replace(spec, versions=(*older, newest)[-KEPT:], last_version=number)


def seen(endpoint: ModelEndpoint, status: ModelEndpointStatus | None, digest: str | None) -> EndpointSeen:
    """What `plan` may know of an endpoint that exists; `status`: None where nobody keeps it up."""
    version = next((each.version for each in endpoint.spec.versions if digest and each.digest == digest), None)
    found = next((each for each in (status.versions if status else ()) if each.version == version), None)
    return EndpointSeen(
        name=endpoint.metadata.name,
        exists=True,
        digest_version=version,
        version_phase=found.phase if found is not None else "",
        version_reason=found.reason if found is not None else "",
        url=status.url if status is not None else "",
    )


def _followed(spec: ModelEndpointSpec, job: TrainingJob) -> ModelEndpointSpec:
    serve = job.spec.serve
    if serve is None:
        return spec
    return replace(spec, replicas=serve.replicas, rollout=serve.rollout, batching=serve.batching, port=serve.port)
