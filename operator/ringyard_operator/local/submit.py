"""What a user wants, written into the state folder: a job's first spec and every later change of it.

Called by `cli` (run, scale, stop). A live supervisor follows what is written here by itself. It starts and signals
nothing. What may change is the knowledge of `changes`.
"""

from __future__ import annotations

import shutil
import time
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum

from ringyard_api.jobstatus import rfc3339
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import check_replicas, check_same, check_stop, finished, how_it_ended
from ringyard_operator.errors import AlreadyRunning, NotFound
from ringyard_operator.local.folders import JobFolder, StateDir


class Submission(StrEnum):
    """What became of a submitted manifest."""

    CREATED = "created"
    CHANGED = "changed"  # mutable fields differ from what was there; they are followed
    UNCHANGED = "unchanged"
    FINISHED = "finished"  # it has ended and is not run again


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The answer of `submit`: the job as it now is on disk, and sentences for a human."""

    outcome: Submission
    job: TrainingJob
    notes: tuple[str, ...] = ()


def submit(state: StateDir, job: TrainingJob) -> Submitted:
    """Writes a validated and resolved job.

    Raises AlreadyRunning (with the pid of the live supervisor), NotChangeable (an immutable field differs),
    Conflict, StateUnusable.
    """
    folder = state.job(job.metadata.name)
    if (pid := folder.holder()) is not None:
        raise AlreadyRunning(
            f"job {folder.name!r} is already running under process {pid}: "
            f"follow it with `ringyard status {folder.name}`, change its size with `ringyard scale`, "
            f"or end it with `ringyard stop {folder.name}`",
            pid=pid,
        )
    with folder.editing():
        if not folder.exists():
            return _create(folder, job)
        return _change(folder, job)


def _create(folder: JobFolder, job: TrainingJob) -> Submitted:
    for remains in (folder.workers, folder.status_file):  # of a deletion that was cut off
        if remains.is_dir():
            shutil.rmtree(remains)
        else:
            remains.unlink(missing_ok=True)
    metadata = replace(job.metadata, uid=str(uuid.uuid4()), generation=1, creation_timestamp=rfc3339(time.time()))
    new = replace(job, metadata=metadata, status=None)
    folder.write_spec(new, expected_generation=0)
    return Submitted(outcome=Submission.CREATED, job=folder.read())


def _change(folder: JobFolder, job: TrainingJob) -> Submitted:
    old = folder.read()
    check_same(old, job)
    outcome = Submission.UNCHANGED
    if old.spec != job.spec:
        _write(folder, old, replace(old, spec=job.spec))
        outcome = Submission.CHANGED
    if finished(old):
        return Submitted(outcome=Submission.FINISHED, job=folder.read(), notes=(how_it_ended(old),))
    return Submitted(outcome=outcome, job=folder.read())


def set_replicas(state: StateDir, name: str, replicas: int) -> TrainingJob:
    """Scales a job. Raises NotFound, NotChangeable (out of the bounds of the spec, or finished), Conflict,
    StateUnusable.
    """
    folder = _existing(state, name)
    with folder.editing():
        old = folder.read()
        check_replicas(old, replicas)
        workers = replace(old.spec.workers, replicas=replicas)
        return _write(folder, old, replace(old, spec=replace(old.spec, workers=workers)))


def suspend(state: StateDir, name: str) -> TrainingJob:
    """Asks a job to stop with a checkpoint; `ringyard run` of its manifest goes on. Raises as `set_replicas`."""
    return _set_suspend(state, name, True)


def resume(state: StateDir, name: str) -> TrainingJob:
    """Takes a suspension back. Raises as `set_replicas`."""
    return _set_suspend(state, name, False)


def _set_suspend(state: StateDir, name: str, wanted: bool) -> TrainingJob:
    folder = _existing(state, name)
    with folder.editing():
        old = folder.read()
        check_stop(old)
        policy = replace(old.spec.run_policy, suspend=wanted)
        return _write(folder, old, replace(old, spec=replace(old.spec, run_policy=policy)))


def _write(folder: JobFolder, old: TrainingJob, new: TrainingJob) -> TrainingJob:
    if new.spec == old.spec:
        return old
    generation = old.metadata.generation or 1
    metadata = replace(new.metadata, generation=generation + 1)
    folder.write_spec(replace(new, metadata=metadata), expected_generation=generation)
    return folder.read()


def _existing(state: StateDir, name: str) -> JobFolder:
    folder = state.job(name)
    if not folder.exists():
        raise NotFound(f"there is no job named {name!r} in {state.root}: see `ringyard list`")
    return folder
