"""The status of a TrainingJob: what the operator (on a cluster or locally) has seen and decided.

`plan` writes it, the CLI and `kubectl` show it. Times are RFC 3339 in UTC with whole seconds. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from ringyard_api.about import COUNT, About, Bounds

_LONG = Bounds(longest=32768)


def rfc3339(now: float) -> str:
    """Unix seconds as `2026-11-21T10:50:21Z`."""
    return datetime.fromtimestamp(int(now), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """Unix seconds of an RFC 3339 time. Raises ValueError where it is none."""
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition, as KEP-1623 (metav1.Condition) shapes it."""

    type: Annotated[str, About("What is said to hold, for example Running.")]
    status: Annotated[Literal["True", "False", "Unknown"], About("Whether it holds.")]
    reason: Annotated[str, About("One CamelCase word: why.")]
    message: Annotated[str, About("One sentence for a human: why.", _LONG)] = ""
    last_transition_time: Annotated[str, About("When `status` changed last.")] = ""
    observed_generation: Annotated[int | None, About("Generation of the spec that it was decided on.", COUNT)] = None


@dataclass(frozen=True, kw_only=True)
class WorkersStatus:
    """The gang in figures."""

    desired: Annotated[int, About("Workers that are wanted.", COUNT)] = 0
    ready: Annotated[int, About("Workers that train, in the view in force.", COUNT)] = 0
    live: Annotated[int, About("Workers that run, training or not.", COUNT)] = 0
    summary: Annotated[str, About("Ready of desired, for example 3/4.")] = ""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One end of a training process or a worker that was judged: remembered so that nothing is counted twice."""

    uid: Annotated[str, About("Incarnation of the worker (the pod's UID).")]
    index: Annotated[int, About("Index of the worker.", COUNT)]
    attempt: Annotated[int, About("Attempt of that index.", COUNT)]
    process_attempt: Annotated[
        int, About("In-place restart within the incarnation; -1: the worker itself ended.", Bounds(at_least=-1))
    ] = 0
    exit_code: Annotated[int | None, About("Exit code, 128 + signal where a signal ended it.")] = None
    counted: Annotated[bool, About("Whether it counts against backoffLimit.")] = False
    reason: Annotated[str, About("Why it counts or not.", _LONG)] = ""
    at: Annotated[str, About("When it ended.")] = ""


@dataclass(frozen=True, kw_only=True)
class RestartsStatus:
    """How often something ended before its time."""

    counted: Annotated[int, About("Ends that count against backoffLimit.", COUNT)] = 0
    ignored: Annotated[int, About("Ends that do not count: eviction, scale, suspend, node loss.", COUNT)] = 0
    ledger: Annotated[tuple[LedgerEntry, ...], About("The ends that were judged.", Bounds(longest=1024))] = ()


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """The exported model."""

    uri: Annotated[str, About("Folder of the artifact.", Bounds(longest=4096))]
    digest: Annotated[str, About("sha256 of its manifest, as sha256:HEX.")] = ""
    metrics: Annotated[Mapping[str, float], About("Quality metrics by name.")] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EndpointRef:
    """Where the model serves."""

    name: Annotated[str, About("Name of the ModelEndpoint.")]
    url: Annotated[str, About("Address of its gRPC server, for example grpc://127.0.0.1:9000.")] = ""
    version: Annotated[str, About("Version of the endpoint that this job's model became.")] = ""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Everything that was observed and decided of one job."""

    observed_generation: Annotated[int, About("Generation of the spec that this status speaks of.", COUNT)] = 0
    conditions: Annotated[
        tuple[Condition, ...],
        About("Succeeded is the summary (Unknown while the job runs).", Bounds(longest=16), merge_key=("type",)),
    ] = ()
    workers: Annotated[WorkersStatus, About("The gang in figures.")] = WorkersStatus()
    restarts: Annotated[RestartsStatus, About("How often something ended before its time.")] = RestartsStatus()
    attempts: Annotated[Mapping[str, int], About("Highest attempt ever given, by worker index.")] = field(
        default_factory=dict
    )
    term: Annotated[int, About("How often a coordinator took office.", COUNT)] = 0
    progress: Annotated[str, About("Part of the steps that is done, for example 63%.")] = ""
    epoch: Annotated[int | None, About("Passes over the training data that are complete.", COUNT)] = None
    step: Annotated[int | None, About("Optimizer updates that are done.", COUNT)] = None
    total_steps: Annotated[int | None, About("Optimizer updates in all.", COUNT)] = None
    eta_seconds: Annotated[float | None, About("Seconds until the last step, at the present speed.", COUNT)] = None
    loss: Annotated[float | None, About("Training loss of the last step.")] = None
    samples_per_second: Annotated[float | None, About("Samples trained a second, by all workers.", COUNT)] = None
    best_metric: Annotated[float | None, About("Best value of earlyStopping.metric so far.")] = None
    model: Annotated[ModelStatus | None, About("The exported model.")] = None
    endpoint: Annotated[EndpointRef | None, About("Where the model serves.")] = None
    start_time: Annotated[str, About("When the first worker was started.")] = ""
    completion_time: Annotated[str, About("When the job ended.")] = ""
    selector: Annotated[str, About("Label selector of the workers, for the scale subresource.")] = ""
