"""What an installation says once for all its jobs: images, where the coordinator is found, how pulls are paid for.

`__main__` makes one from the operator's options; all of `resources` reads it. It knows no job.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One installation.

    Attributes:
        trainer_image: of workers whose job names none.
        coordinator: host:port that workers dial; a Service that follows the Lease's holder.
        audience: what a worker's ServiceAccount token is made out to.
        image_pull_secrets: names of Secrets in the job's namespace, added to every pod.
        priority_class_name: of pods whose job names none; empty: the cluster's default.
    """

    trainer_image: str
    serving_image: str
    coordinator: str = "ringyard-coordinator.ringyard-system.svc:7070"
    audience: str = "coordinator.ringyard.dev"
    image_pull_secrets: tuple[str, ...] = ()
    priority_class_name: str = ""
