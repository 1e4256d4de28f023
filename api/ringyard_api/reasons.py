"""Types and reasons of conditions: the words that scripts, alerts and `kubectl wait` rely on, in one place.

`plan` and its parts use them; the documents list them. A word is added, never renamed.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What can hold of an object."""

    SUCCEEDED = "Succeeded"  # the summary: Unknown while the job runs
    ADMITTED = "Admitted"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    EVALUATED = "Evaluated"
    PUBLISHED = "Published"
    SUSPENDED = "Suspended"
    FAILED = "Failed"
    AVAILABLE = "Available"  # of a ModelEndpoint


class Reason(StrEnum):
    """Why a condition has its status."""

    # on its way
    WAITING = "Waiting"
    QUEUED = "Queued"
    ADMITTED = "Admitted"
    STARTING = "Starting"
    LOADING = "Loading"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    ALL_WORKERS_READY = "AllWorkersReady"
    BELOW_MIN_REPLICAS = "BelowMinReplicas"
    RESTARTING = "Restarting"
    NOT_RUNNING = "NotRunning"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    RESUMED = "Resumed"
    STOPPED = "Stopped"
    EVALUATING = "Evaluating"
    EVALUATED = "Evaluated"
    PUBLISHING = "Publishing"
    MANAGED_ELSEWHERE = "ManagedElsewhere"
    # what a worker waits for on a cluster
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    CONFIG_MISSING = "ConfigMissing"  # a Secret or ConfigMap, or a key in it
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    CONTAINER_REFUSED = "ContainerRefused"  # the node cannot make the container from the pod
    QUOTA_EXCEEDED = "QuotaExceeded"
    TEMPLATE_REFUSED = "TemplateRefused"
    FORBIDDEN = "Forbidden"  # an admission policy, or the operator's own rights
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    NOT_SUPPORTED = "NotSupported"
    # the end
    COMPLETED = "Completed"
    PUBLISHED = "Published"
    NOT_SERVED = "NotServed"
    GATE_REACHED = "GateReached"
    GATE_NOT_REACHED = "GateNotReached"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    PERMANENT_FAILURE = "PermanentFailure"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    LOSS_NOT_FINITE = "LossNotFinite"
    GANG_TIMEOUT = "GangTimeout"
    PUBLISH_FAILED = "PublishFailed"
    RESULT_INVALID = "ResultInvalid"
    FOREIGN_CHILD = "ForeignChild"
    # of a ModelEndpoint
    SERVING = "Serving"
    NO_VERSION = "NoVersion"
    LOAD_FAILED = "LoadFailed"
    SERVER_FAILED = "ServerFailed"
