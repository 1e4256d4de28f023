"""What the Lease's holder keeps in mind of one job during its term. Nothing in it has to outlive the term.

`jobkeeper` has one for each job; `observe`, `door`, `children` and `perform` read and mark it. What must be true after
a restart stands in the status or is seen in the cluster.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ringyard_api import defaults
from ringyard_api.clusterobject import job_of
from ringyard_api.problems import Problem
from ringyard_api.trainingjob import TrainingJob
from ringyard_api.validation import cluster_problems

from ringyard_operator.coordinator import Coordinator
from ringyard_operator.observed import Refusal

Json = dict[str, Any]


@dataclass(kw_only=True)
class Refused:
    """A worker that the API server did not take: it is tried dry until it would."""

    refusal: Refusal
    index: int
    attempt: int
    failures: int
    retry_at: float  # Unix seconds


@dataclass(kw_only=True)
class Desk:
    """One job, of one uid."""

    uid: str
    opened_at: float  # Unix seconds: agents were not heard before
    settled: bool = False
    coordinator: Coordinator | None = None
    listener: asyncio.Task[None] | None = None
    told: set[str] = field(default_factory=set)  # uids of workers that we asked to go
    refused: Refused | None = None
    shown: tuple[int, Refusal | None] | None = None  # generation whose pod the API server was shown, and its answer
    claims: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)  # name -> asked at, access modes
    troubles: dict[str, tuple[float, str]] = field(default_factory=dict)  # uid of a pod -> asked at, last warning
    foreign: tuple[float, Refusal] | None = None  # until when a foreign child is not looked at again
    written_at: float = 0.0  # monotonic: of the last status
    _read: tuple[str, TrainingJob, tuple[Problem, ...]] | None = None

    def read(self, obj: Json) -> tuple[TrainingJob, tuple[Problem, ...]]:
        """The job with its defaults in place, and what is wrong with it; read once for each version."""
        version = obj["metadata"]["resourceVersion"]
        if self._read is None or self._read[0] != version:
            job, problems = job_of(obj)
            if not problems:
                job = defaults.resolve(job)
                problems = cluster_problems(job)
            self._read = (version, job, problems)
        return self._read[1], self._read[2]
