"""`ttlSecondsAfterFinished` in local mode: finished jobs whose time is over are deleted by whoever comes by.

Called by supervisors at their start and while they serve: local mode has no daemon. It decides by the status on disk
and the time given.
"""

from __future__ import annotations

import contextlib

from ringyard_api.jobstatus import seconds
from ringyard_api.problems import ManifestError
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import finished
from ringyard_operator.errors import RingyardError
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.remove import delete_job


def sweep(state: StateDir, now: float) -> list[str]:
    """Deletes the finished jobs whose time is over at `now` (Unix seconds); answers their names. Never raises."""
    gone = []
    for name in state.jobs():
        with contextlib.suppress(RingyardError, ManifestError, ValueError):
            folder = state.job(name)
            if expired(folder.read(), now) and folder.holder() is None:
                delete_job(state, name)
                gone.append(name)
    return gone


def expired(job: TrainingJob, now: float) -> bool:
    """Whether the job has ended and its time after that is over."""
    ttl = job.spec.run_policy.ttl_seconds_after_finished
    if ttl is None or job.status is None or not finished(job) or not job.status.completion_time:
        return False
    return now >= seconds(job.status.completion_time) + ttl
