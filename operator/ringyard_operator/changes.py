"""What may still be asked of a job that exists, and in which sentence it is refused: the same here and on a cluster.

`local.submit` and the command line on a cluster ask. Pure; fields that must stay as they are, are `ringyard_api`'s
knowledge.
"""

from __future__ import annotations

from ringyard_api.trainingjob import TrainingJob
from ringyard_api.validation import immutable_changes

from ringyard_operator.errors import NotChangeable


def finished(job: TrainingJob) -> bool:
    """Whether the job has ended: its summary condition is no longer Unknown."""
    return _summary(job) in ("True", "False")


def how_it_ended(job: TrainingJob) -> str:
    """Why a finished job is not run again."""
    name = job.metadata.name
    return f"job {name!r} has already {_how(job)} and is not run again: use another --name, or delete it first"


def check_stop(job: TrainingJob) -> None:
    """Raises `NotChangeable` for a job that has ended."""
    if finished(job):
        served = job.status.endpoint.name if job.status is not None and job.status.endpoint is not None else ""
        ends = f"; `ringyard endpoint delete {served}` ends what serves its model" if served else ""
        raise NotChangeable(f"job {job.metadata.name!r} has already {_how(job)}: there is nothing to stop{ends}")


def check_same(old: TrainingJob, new: TrainingJob) -> None:
    """Raises `NotChangeable` if a field differs that must stay as it was; both jobs are resolved."""
    if problems := immutable_changes(old, new):
        raise NotChangeable("\n".join(f"{problem.path}: {problem.message}" for problem in problems))


def check_replicas(job: TrainingJob, replicas: int, *, again: str = "run") -> None:
    """Raises `NotChangeable` for a size out of the spec's bounds; `again` is the command that takes a manifest."""
    workers = job.spec.workers
    path = "spec.workers.replicas"
    if finished(job):
        raise NotChangeable(how_it_ended(job))
    if replicas < 1:
        raise NotChangeable(f"{path}: must be at least 1, got {replicas}: to end the job use `ringyard stop`")
    if workers.min_replicas is not None and replicas < workers.min_replicas:
        raise NotChangeable(
            f"{path}: must be at least minReplicas ({workers.min_replicas}), got {replicas}: "
            f"lower minReplicas and {again} the manifest"
        )
    if workers.max_replicas is not None and replicas > workers.max_replicas:
        raise NotChangeable(
            f"{path}: must be at most maxReplicas ({workers.max_replicas}), got {replicas}: "
            f"raise maxReplicas and {again} the manifest"
        )


def _summary(job: TrainingJob) -> str:
    conditions = job.status.conditions if job.status is not None else ()
    return next((condition.status for condition in conditions if condition.type == "Succeeded"), "Unknown")


def _how(job: TrainingJob) -> str:
    return "succeeded" if _summary(job) == "True" else "failed"
