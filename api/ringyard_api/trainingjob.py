"""TrainingJob: one training run, from data to a served model. The types and their constant defaults.

Everybody reads them; `loading` makes them from YAML, `defaults` fills in what is not constant, `schema` writes the CRD
from them, `validation` holds the rules between fields. Names in YAML are the camelCase of the names here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from ringyard_api.about import API_VERSION, COUNT, NAME, POSITIVE, TEXT, About, Bounds
from ringyard_api.jobstatus import JobStatus
from ringyard_api.metadata import ObjectMeta
from ringyard_api.traffic import AbortSpec, BatchingSpec, RolloutSpec

__all__ = [
    "PREPROCESS_STEPS",
    "AbortSpec",
    "AllreduceSpec",
    "BatchingSpec",
    "CheckpointSpec",
    "CodeSpec",
    "ColumnName",
    "DataSpec",
    "EarlyStoppingSpec",
    "EvaluateSpec",
    "FitSpec",
    "GateSpec",
    "ImputeArgs",
    "Metric",
    "ModelSpec",
    "ObjectMeta",
    "OneHotArgs",
    "OptimizerSpec",
    "PreprocessStep",
    "RegularizationSpec",
    "ResourcesSpec",
    "RolloutSpec",
    "RunPolicySpec",
    "ScheduleSpec",
    "ServeSpec",
    "SplitSpec",
    "StandardizeArgs",
    "StorageSpec",
    "TrainingJob",
    "TrainingJobSpec",
    "WatchedMetric",
    "WorkersSpec",
]

Metric = Literal["loss", "accuracy", "precision", "recall", "f1", "mse", "mae", "r2"]
WatchedMetric = Literal[
    "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1", "val_mse", "val_mae", "val_r2"
]
ColumnName = Annotated[str, About("Name of a column.", Bounds(shortest=1, longest=128))]
_FRACTION = Bounds(at_least=0, below=1)
_NOT_NEGATIVE = Bounds(at_least=0)
_URI = Bounds(shortest=1, longest=4096)
_SECONDS = Bounds(at_least=1, at_most=31_536_000)
_REPLICAS = Bounds(at_least=1, at_most=10_000)


@dataclass(frozen=True, kw_only=True)
class ResourcesSpec:
    """Kubernetes resources of one worker, by resource name."""

    limits: Annotated[Mapping[str, str | int], About("Most that a worker gets.", Bounds(longest=32))] = field(
        default_factory=dict
    )
    requests: Annotated[Mapping[str, str | int], About("Least that a worker needs.", Bounds(longest=32))] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class WorkersSpec:
    """The gang."""

    replicas: Annotated[int, About("Workers that are wanted.", _REPLICAS, mutable=True)] = 1
    min_replicas: Annotated[int, About("With fewer alive the group waits.", _REPLICAS, mutable=True)] = 1
    max_replicas: Annotated[int | None, About("Bound of scaling up; absent: none.", _REPLICAS, mutable=True)] = None
    processes: Annotated[int, About("Training processes in one worker, one a GPU.", Bounds(at_least=1, at_most=64))] = 1
    resources: Annotated[ResourcesSpec | None, About("Resources of one worker; a cluster honours them.")] = None
    template: Annotated[
        Mapping[str, Any], About("PodTemplate laid over each worker's pod; local mode takes its containers' env only.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A declared fit: what to train."""

    factory: Annotated[
        str,
        About(
            "Callable that returns a torch.nn.Module, as package.module:name; presets: ringyard_trainer.models:"
            "linear, :mlp, :cnn.",
            Bounds(
                shortest=3,
                longest=512,
                pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$",
                pattern_says="must be package.module:name",
            ),
        ),
    ]
    args: Annotated[Mapping[str, Any], About("Keyword arguments of the factory.")] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CodeSpec:
    """Your own code, put on PYTHONPATH of every worker. Exactly one of the two."""

    config_map: Annotated[str | None, About("ConfigMap that holds the files; on a cluster only.", TEXT)] = None
    path: Annotated[str | None, About("Folder, relative to the manifest; in local mode only.", _URI)] = None


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """How samples are parted. What is neither validation nor test is trained on."""

    validation: Annotated[float, About("Fraction of all samples to validate on after each epoch.", _FRACTION)] = 0.0
    test: Annotated[float, About("Fraction of all samples that training never sees, for the gate.", _FRACTION)] = 0.0
    seed: Annotated[int, About("Seed of the split.", Bounds(at_least=0, at_most=2**31 - 1))] = 0
    stratify: Annotated[bool, About("Cut every class by the same fractions.")] = False


@dataclass(frozen=True, kw_only=True)
class StandardizeArgs:
    """Subtract the mean, divide by the standard deviation."""

    columns: Annotated[
        tuple[ColumnName, ...], About("Columns; absent: all that are numbers.", Bounds(longest=512))
    ] = ()


@dataclass(frozen=True, kw_only=True)
class OneHotArgs:
    """Replace a column by one for each of its values; an unknown value later gives zeros."""

    columns: Annotated[tuple[ColumnName, ...], About("Columns.", Bounds(shortest=1, longest=512))]


@dataclass(frozen=True, kw_only=True)
class ImputeArgs:
    """Fill in missing values."""

    strategy: Annotated[Literal["mean", "median", "constant"], About("What is filled in.")] = "mean"
    value: Annotated[float, About("What is filled in; constant only.")] = 0.0
    columns: Annotated[
        tuple[ColumnName, ...], About("Columns; absent: all that are numbers.", Bounds(longest=512))
    ] = ()


PREPROCESS_STEPS: Final[Mapping[str, type[Any]]] = {
    "standardize": StandardizeArgs,
    "oneHot": OneHotArgs,
    "impute": ImputeArgs,
}


@dataclass(frozen=True, kw_only=True)
class PreprocessStep:
    """One step, fitted on the train part only; in YAML a mapping with one key: {name: {args}}.

    Attributes:
        name: standardize, oneHot or impute.
        args: as `StandardizeArgs`, `OneHotArgs` or `ImputeArgs` name them, in YAML's spelling.
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What is trained on."""

    uri: Annotated[str, About("sklearn://NAME, file:///PATH or a path relative to the manifest.", _URI)]
    features: Annotated[
        tuple[ColumnName, ...],
        About("Columns to learn from; absent: all but the label.", Bounds(longest=4096), unique=True),
    ] = ()
    label: Annotated[str | None, About("Column to predict; absent: the label that sklearn:// sets have.", TEXT)] = None
    split: Annotated[SplitSpec, About("How samples are parted.")] = SplitSpec()
    preprocess: Annotated[
        tuple[PreprocessStep, ...],
        About(
            "Steps in order, fitted on the train part, saved with the model and replayed when serving.",
            Bounds(longest=16),
        ),
    ] = ()
    augment: Annotated[
        tuple[Mapping[str, Any], ...], About("Random changes of the training samples, in order.", Bounds(longest=16))
    ] = ()


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """How parameters are updated."""

    name: Annotated[Literal["sgd", "adam", "adamw"], About("Optimizer.")] = "adamw"
    lr: Annotated[float, About("Learning rate before the schedule.", Bounds(above=0))] = 0.001
    momentum: Annotated[float, About("Momentum; sgd only.", _FRACTION)] = 0.0
    weight_decay: Annotated[float, About("Weight decay (decoupled in adamw).", _NOT_NEGATIVE)] = 0.0
    betas: Annotated[
        tuple[Annotated[float, About("Decay rate of a running mean.", _FRACTION)], ...],
        About("Decay rates of the two running means; adam and adamw only.", Bounds(shortest=2, longest=2)),
    ] = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """How the learning rate changes over the steps."""

    name: Annotated[Literal["constant", "step", "cosine"], About("Schedule.")] = "constant"
    warmup_steps: Annotated[int, About("Steps over which the rate grows linearly to lr.", COUNT)] = 0
    step_size: Annotated[int | None, About("Steps between two cuts; step only.", POSITIVE)] = None
    gamma: Annotated[float, About("Factor of each cut; step only.", Bounds(above=0, at_most=1))] = 0.1
    min_lr: Annotated[float, About("Rate at the end; cosine only.", _NOT_NEGATIVE)] = 0.0


@dataclass(frozen=True, kw_only=True)
class RegularizationSpec:
    """What keeps parameters and gradients small."""

    l1: Annotated[float, About("Weight of the sum of absolute parameters in the loss.", _NOT_NEGATIVE)] = 0.0
    l2: Annotated[float, About("Weight of the sum of squared parameters in the loss.", _NOT_NEGATIVE)] = 0.0
    clip_grad_norm: Annotated[
        float | None, About("Greatest norm of the gradient over all parameters; absent: none.", Bounds(above=0))
    ] = None


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingSpec:
    """When to stop before the last epoch; the best state is then exported."""

    metric: Annotated[WatchedMetric, About("Metric of the validation part to watch.")] = "val_loss"
    patience: Annotated[int, About("Validations in a row without an improvement.", POSITIVE)] = 3
    min_delta: Annotated[float, About("A change up to this is no improvement.", _NOT_NEGATIVE)] = 0.0


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """A declared fit: how to train. Exactly one of epochs and steps."""

    epochs: Annotated[int | None, About("Passes over the train part.", POSITIVE)] = None
    steps: Annotated[int | None, About("Optimizer updates, each on one global batch.", POSITIVE)] = None
    batch_size: Annotated[int, About("Samples of one step over ALL workers, however many are alive.", POSITIVE)] = 32
    precision: Annotated[Literal["fp32", "fp64", "bf16", "fp16"], About("Number format of the training.")] = "fp32"
    optimizer: Annotated[OptimizerSpec, About("How parameters are updated.")] = OptimizerSpec()
    schedule: Annotated[ScheduleSpec, About("How the learning rate changes.")] = ScheduleSpec()
    loss: Annotated[Literal["crossEntropy", "mse"], About("crossEntropy for classes, mse for numbers.")] = (
        "crossEntropy"
    )
    regularization: Annotated[RegularizationSpec, About("What keeps parameters small.")] = RegularizationSpec()
    early_stopping: Annotated[EarlyStoppingSpec | None, About("When to stop early; absent: never.")] = None
    seed: Annotated[int, About("Seed of initial parameters and order.", Bounds(at_least=0, at_most=2**31 - 1))] = 0


@dataclass(frozen=True, kw_only=True)
class AllreduceSpec:
    """How gradients are summed over the gang."""

    algorithm: Annotated[
        Literal["auto", "ring", "halvingDoubling", "star", "parameterServer"], About("auto chooses by size.")
    ] = "auto"
    compression: Annotated[
        Literal["none", "bf16", "int8", "topk", "powersgd"], About("With error feedback where it loses something.")
    ] = "none"
    bucket_mib: Annotated[
        int, About("Size of one piece in MiB.", Bounds(at_least=1, at_most=1024), spelled="bucketMiB")
    ] = 8


@dataclass(frozen=True, kw_only=True)
class StorageSpec:
    """Where runs are kept; each gets a folder of its own below it."""

    uri: Annotated[
        str, About("file:///PATH or a path (local mode), pvc://CLAIM/PATH, s3://BUCKET/PATH and others (fsspec).", _URI)
    ]


@dataclass(frozen=True, kw_only=True)
class CheckpointSpec:
    """When the state is saved."""

    every_steps: Annotated[int, About("Steps between two checkpoints.", POSITIVE)] = 500
    keep: Annotated[int, About("Newest checkpoints that are kept.", Bounds(at_least=1, at_most=1000))] = 3


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """One demand on the trained model. Exactly one of the two bounds."""

    metric: Annotated[Metric, About("Metric of the test part, else of the validation part.")]
    at_least: Annotated[float | None, About("Least value that passes.")] = None
    at_most: Annotated[float | None, About("Greatest value that passes.")] = None


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """What the trained model is measured by."""

    metrics: Annotated[
        tuple[Metric, ...],
        About("Metrics to compute; absent: those that suit the loss.", Bounds(longest=16), unique=True),
    ] = ()
    gate: Annotated[
        tuple[GateSpec, ...], About("Demands, all of which must hold before the model is served.", Bounds(longest=16))
    ] = ()


@dataclass(frozen=True, kw_only=True)
class ServeSpec:
    """Where and how the model is served."""

    endpoint: Annotated[str, About("The ModelEndpoint to publish into; created if missing.", NAME)]
    replicas: Annotated[int, About("Model servers; local mode runs one.", Bounds(at_least=1, at_most=1000))] = 1
    rollout: Annotated[RolloutSpec | None, About("How requests move to a new version; absent: at once.")] = None
    batching: Annotated[BatchingSpec | None, About("How requests are computed together; absent: one by one.")] = None
    port: Annotated[
        int, About("Port of the model server in local mode; 0: one that is free.", Bounds(at_least=0, at_most=65_535))
    ] = 0


@dataclass(frozen=True, kw_only=True)
class RunPolicySpec:
    """How the run goes: failures, time, what is left."""

    backoff_limit: Annotated[int, About("Counted failures that are endured; one more fails the job.", COUNT, True)] = 3
    restart_policy: Annotated[
        Literal["ExitCode", "OnFailure"], About("ExitCode: exit codes 1 to 127 are permanent.", mutable=True)
    ] = "ExitCode"
    active_deadline_seconds: Annotated[int | None, About("Longest run; absent: no limit.", _SECONDS, True)] = None
    ttl_seconds_after_finished: Annotated[
        int | None, About("A finished job is deleted after so long; absent: never.", COUNT, mutable=True)
    ] = None
    suspend: Annotated[bool, About("Stop with a checkpoint until it is false again.", mutable=True)] = False
    clean_pod_policy: Annotated[
        Literal["Running", "All", "None"], About("Which pods go when the job has ended.", mutable=True)
    ] = "Running"
    queue: Annotated[str | None, About("Kueue queue that admits the job.", NAME)] = None
    priority_class_name: Annotated[str | None, About("PriorityClass of the pods.", TEXT, mutable=True)] = None
    managed_by: Annotated[str | None, About("Another controller that looks after the job.", TEXT)] = None
    stall_seconds: Annotated[int, About("No step for so long after the first is a hang.", _SECONDS, mutable=True)] = 300
    gang_timeout_seconds: Annotated[
        int, About("Below minReplicas for so long: checkpoint, let the workers go, try again later.", _SECONDS, True)
    ] = 1800


@dataclass(frozen=True, kw_only=True)
class TrainingJobSpec:
    """What is wanted. Exactly one of `model` (a declared fit) and `command` (your own script)."""

    image: Annotated[str | None, About("Container image; default from the chart. A cluster honours it.", TEXT)] = None
    workers: Annotated[WorkersSpec, About("The gang.")] = WorkersSpec()
    model: Annotated[ModelSpec | None, About("A declared fit: what to train.")] = None
    command: Annotated[
        tuple[Annotated[str, About("One word.", Bounds(longest=4096))], ...],
        About("Your own script and its arguments, run unchanged in every worker."),
    ] = ()
    code: Annotated[CodeSpec | None, About("Your own code, put on PYTHONPATH of every worker.")] = None
    data: Annotated[DataSpec | None, About("What is trained on; with `model`.")] = None
    fit: Annotated[FitSpec | None, About("How to train; with `model`.")] = None
    allreduce: Annotated[AllreduceSpec, About("How gradients are summed over the gang.")] = AllreduceSpec()
    storage: Annotated[StorageSpec | None, About("Where runs are kept; local default: the state folder.")] = None
    checkpoint: Annotated[CheckpointSpec, About("When the state is saved.")] = CheckpointSpec()
    evaluate: Annotated[EvaluateSpec, About("What the trained model is measured by.")] = EvaluateSpec()
    compress: Annotated[
        tuple[Mapping[str, Any], ...], About("Ordered steps that shrink the model, each gated.", Bounds(longest=16))
    ] = ()
    serve: Annotated[ServeSpec | None, About("Where the model is served; absent: not.", mutable=True)] = None
    run_policy: Annotated[RunPolicySpec, About("How the run goes: failures, time, what is left.")] = RunPolicySpec()


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training run. It ends; what serves afterwards is a ModelEndpoint."""

    api_version: Literal["ringyard.dev/v1alpha1"] = API_VERSION
    kind: Literal["TrainingJob"] = "TrainingJob"
    metadata: Annotated[ObjectMeta, About("Name and what Kubernetes keeps.")]
    spec: Annotated[TrainingJobSpec, About("What is wanted.")]
    status: Annotated[JobStatus | None, About("What was observed and decided.")] = None
