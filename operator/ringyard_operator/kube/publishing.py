"""Takes a job's artifact into a ModelEndpoint, and tells `plan` what has become of it.

Called by `perform` and `observe`. Which number and weight the version gets is `ringyard_operator.endpoints`' decision;
whoever wrote the endpoint meanwhile wins, and the next turn of the job tries again.
"""

from __future__ import annotations

from ringyard_api.clusterobject import endpoint_of
from ringyard_api.loading import to_object
from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator import endpoints
from ringyard_operator.errors import KubeConflict, KubeExists, KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS
from ringyard_operator.observed import EndpointSeen


async def publish(api: Api, job: TrainingJob, name: str, uri: str, digest: str) -> Json | None:
    """The endpoint with the artifact among its versions; it is made if missing, and belongs to no job. Twice is once.

    None where another write came first, or the endpoint is just going: the next turn looks again.
    """
    try:
        return await _publish(api, job, name, uri, digest)
    except (KubeConflict, KubeExists):
        return None


async def _publish(api: Api, job: TrainingJob, name: str, uri: str, digest: str) -> Json | None:
    namespace = job.metadata.namespace
    try:
        found = await api.get(MODEL_ENDPOINTS, name, namespace)
    except KubeNotFound:
        made = endpoints.publish(None, job, name=name, uri=uri, digest=digest)
        metadata = {"name": name, "namespace": namespace, "labels": dict(made.metadata.labels)}
        return await api.create(MODEL_ENDPOINTS, {**_head(made), "metadata": metadata, "spec": to_object(made.spec)})
    if found["metadata"].get("deletionTimestamp"):
        return None
    present, _ = endpoint_of(found)
    wanted = endpoints.publish(present, job, name=name, uri=uri, digest=digest)
    if wanted.spec == present.spec:
        return found
    return await api.replace(MODEL_ENDPOINTS, {**found, "spec": to_object(wanted.spec)})


def endpoint_seen(endpoint: Json | None, name: str, digest: str | None) -> EndpointSeen:
    """What `plan` may know of the endpoint of that name."""
    if endpoint is None:
        return EndpointSeen(name=name)
    found, _ = endpoint_of(endpoint)
    return endpoints.seen(found, found.status, digest)


def _head(endpoint: ModelEndpoint) -> Json:
    return {"apiVersion": endpoint.api_version, "kind": endpoint.kind}
