"""ModelEndpoint: what serves. It outlives the jobs that publish versions into it. The types and constant defaults.

The publishing operator (locally the supervisor) writes its versions, whoever holds it runs the servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ringyard_api.about import API_VERSION, COUNT, About, Bounds
from ringyard_api.jobstatus import Condition
from ringyard_api.metadata import ObjectMeta
from ringyard_api.traffic import BatchingSpec, RolloutSpec

CREATED_BY = (
    "ringyard.dev/created-by"  # label; TRAININGJOB where a job made the endpoint, whose `serve` is then followed
)
TRAININGJOB = "trainingjob"

_VERSION = Bounds(
    shortest=1, longest=9, pattern=r"^[1-9][0-9]*$", pattern_says="must be a version number in quotes, such as '3'"
)
_DIGEST = Bounds(longest=71, pattern=r"^sha256:[0-9a-f]{64}$", pattern_says="must be sha256: and 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version that is wanted."""

    version: Annotated[str, About("Number of the version as text; given once and never reused.", _VERSION)]
    uri: Annotated[str, About("Folder of the artifact.", Bounds(shortest=1, longest=4096))]
    digest: Annotated[str, About("sha256 of its manifest.", _DIGEST)]
    job: Annotated[str, About("TrainingJob that published it.", Bounds(longest=63))] = ""
    weight: Annotated[
        int,
        About("Percent of the requests that name no version; all weights sum to 100.", Bounds(at_least=0, at_most=100)),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class ModelEndpointSpec:
    """What is wanted."""

    versions: Annotated[
        tuple[ModelVersion, ...],
        About("Versions to hold, oldest first.", Bounds(longest=32), mutable=True, merge_key=("version",)),
    ] = ()
    last_version: Annotated[int, About("Highest number ever given to a version.", COUNT, mutable=True)] = 0
    replicas: Annotated[
        int, About("Model servers; local mode runs one.", Bounds(at_least=1, at_most=1000), mutable=True)
    ] = 1
    rollout: Annotated[
        RolloutSpec | None, About("How requests move to a new version; absent: at once.", mutable=True)
    ] = None
    batching: Annotated[
        BatchingSpec | None, About("How requests are computed together; absent: one by one.", mutable=True)
    ] = None
    port: Annotated[
        int,
        About("Port in local mode; 0: one that is free.", Bounds(at_least=0, at_most=65_535), mutable=True),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class ModelVersionStatus:
    """What the servers make of one version."""

    version: Annotated[str, About("The version.", _VERSION)]
    phase: Annotated[Literal["LOADING", "READY", "UNLOADING", "FAILED"], About("Where it is.")]
    reason: Annotated[str, About("One sentence, where it failed.", Bounds(longest=32768))] = ""
    digest: Annotated[str, About("sha256 of its manifest.")] = ""
    weight: Annotated[int, About("Percent of the requests that name no version.", COUNT)] = 0


@dataclass(frozen=True, kw_only=True)
class EndpointSummary:
    """The columns of `kubectl get mep`, where one JSONPath shows one text."""

    versions: Annotated[str, About("Versions that are wanted, oldest first, for example 1,2.")] = ""
    weights: Annotated[str, About("Their percents of the requests, in the same order, for example 0,100.")] = ""
    ready: Annotated[str, About("Model servers that are ready of those wanted, for example 2/2.")] = ""


@dataclass(frozen=True, kw_only=True)
class ModelEndpointStatus:
    """What was observed."""

    observed_generation: Annotated[int, About("Generation of the spec that this status speaks of.", COUNT)] = 0
    conditions: Annotated[
        tuple[Condition, ...],
        About("Available: a version with a weight is ready.", Bounds(longest=16), merge_key=("type",)),
    ] = ()
    url: Annotated[str, About("Address of the gRPC server, for example grpc://127.0.0.1:9000.")] = ""
    versions: Annotated[
        tuple[ModelVersionStatus, ...], About("What the servers make of each version.", merge_key=("version",))
    ] = ()
    summary: Annotated[EndpointSummary, About("The same in a few characters.")] = EndpointSummary()
    replicas: Annotated[int, About("Model servers that are ready.", COUNT)] = 0
    selector: Annotated[str, About("Label selector of the servers, for the scale subresource.")] = ""


@dataclass(frozen=True, kw_only=True)
class ModelEndpoint:
    """What serves."""

    api_version: Literal["ringyard.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelEndpoint"] = "ModelEndpoint"
    metadata: Annotated[ObjectMeta, About("Name and what Kubernetes keeps.")]
    spec: Annotated[ModelEndpointSpec, About("What is wanted.")]
    status: Annotated[ModelEndpointStatus | None, About("What was observed.")] = None
