"""Looks after one job in this process, or starts a process that does: `ringyard run`, with and without `--detach`.

Called by `cli` and `__main__`. Trains until the job has ended, then serves what it published. It holds the job's lock
while the job may run and the endpoint's while it serves. What it does in between is `training`'s and `endpoint`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from prometheus_client import CollectorRegistry
from ringyard_api.jobstatus import EndpointRef, JobStatus
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import finished
from ringyard_operator.conditions import Claim, holds, merge
from ringyard_operator.errors import AlreadyRunning, LaunchFailed, LaunchRefused, NotFound, PortTaken
from ringyard_operator.local import disk
from ringyard_operator.local.endpoint import EndpointKeeper, endpoint_seen, publish, try_keeper
from ringyard_operator.local.expiry import sweep
from ringyard_operator.local.folders import JobFolder, StateDir
from ringyard_operator.local.processes import Workers
from ringyard_operator.local.server import check_port
from ringyard_operator.local.training import OnChange, Training
from ringyard_operator.metrics import Metrics
from ringyard_operator.observed import EndpointSeen

_TICK_SECONDS = 0.5
_DETACH_SECONDS = 20.0
_SWEEP_SECONDS = 5.0
_EXIT_BAD_INPUT = 2


class Ending(StrEnum):
    """Why `supervise` returned."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"  # `stop` was set: the workers left with a checkpoint
    SUSPENDED = "suspended"  # the spec says so
    DELETED = "deleted"  # somebody removed the job


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it ended: the job as it is on disk now, and one sentence."""

    ending: Ending
    job: TrainingJob
    message: str
    served_elsewhere: int | None = None  # pid of the other supervisor that serves the endpoint


async def supervise(
    state: StateDir,
    name: str,
    *,
    serve: bool,
    metrics_port: int | None,
    on_change: OnChange,
    stop: asyncio.Event,
) -> Outcome:
    """Trains the job to its end, then (if `serve`) serves its model until `stop` is set or the endpoint is deleted.

    A finished job is only served. Raises NotFound, AlreadyRunning (another supervisor lives), PortTaken, StateUnusable.
    """
    folder = state.job(name)
    sweep(state, time.time())
    if not folder.exists():
        raise NotFound(f"there is no job named {name!r} in {state.root}: see `ringyard list`")
    metrics = Metrics(CollectorRegistry())
    keeper: EndpointKeeper | None = None
    try:
        with folder.lock():
            job = folder.read()
            _check_serve_port(state, job, serve)
            _serve_metrics(folder, metrics, metrics_port)  # last: `detach` waits for it
            deleted, run_before = False, finished(job)
            if not run_before or any(agent.alive for agent in Workers(folder).seen()):
                training = Training(state, folder, serve=serve, metrics=metrics, on_change=on_change, stop=stop)
                try:
                    job = await training.run()
                finally:
                    keeper, deleted = training.keeper, training.deleted
            outcome = _outcome(job, stopped=stop.is_set(), deleted=deleted)
        if outcome.ending is Ending.SUCCEEDED and serve and job.spec.serve is not None:
            keeper, elsewhere = _take_endpoint(state, job, keeper, anew=run_before)
            outcome = replace(outcome, served_elsewhere=elsewhere)
            await _keep_serving(state, job, keeper, on_change, stop)
        return outcome
    finally:
        metrics.close()
        if keeper is not None and not keeper.deleted:
            await keeper.close()


def detach(state: StateDir, name: str, *, serve: bool = True, metrics_port: int | None = None) -> int:
    """Starts a supervisor in a session of its own and returns its pid once it is at work.

    Raises LaunchFailed with what it said where it ended before, and what `supervise` raises where it can be told at
    once.
    """
    folder = state.job(name)
    if not folder.exists():
        raise NotFound(f"there is no job named {name!r} in {state.root}: see `ringyard list`")
    folder.lock().close()  # refused here, with the pid, while another supervisor lives
    command = [sys.executable, "-P", "-m", "ringyard_operator", "supervise", name, "--state-dir", str(state.root)]
    command += [] if serve else ["--no-serve"]
    command += [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    with disk.refusals("write", folder.supervisor_log), folder.supervisor_log.open("ab") as log:
        folder.metrics_file.unlink(missing_ok=True)
        start = log.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + _DETACH_SECONDS
    while time.monotonic() < deadline:
        if folder.metrics_file.exists() and folder.holder() in (child.pid, None):  # else another was quicker
            return child.pid
        if (code := child.poll()) is not None:
            if code == 0:
                return child.pid  # it was so quick that it is done
            said = _last_line(folder, start) or f"its supervisor ended with {code}: see {folder.supervisor_log}"
            raise (LaunchRefused if code == _EXIT_BAD_INPUT else LaunchFailed)(said)
        time.sleep(0.05)
    child.terminate()
    raise LaunchFailed(
        f"the supervisor of job {name!r} did not start in {_DETACH_SECONDS:g} s: see {folder.supervisor_log}"
    )


def _last_line(folder: JobFolder, start: int) -> str:
    with folder.supervisor_log.open("rb") as log:
        log.seek(max(start, log.seek(0, 2) - 20_000))
        lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ringyard: ") if lines else ""


def _serve_metrics(folder: JobFolder, metrics: Metrics, port: int | None) -> None:
    """Without a wanted port a free one is taken; either way the address is in the job's folder."""
    try:
        address = metrics.serve(port or 0)
    except OSError as error:
        raise PortTaken(
            f"--metrics-port: port {port} of 127.0.0.1 is taken ({error.strerror}): "
            "free it, name another, or leave it out"
        ) from error
    disk.replace(folder.metrics_file, f"{address}\n")


def _check_serve_port(state: StateDir, job: TrainingJob, serve: bool) -> None:
    if serve and job.spec.serve is not None:
        endpoint = state.endpoint(job.spec.serve.endpoint)
        if endpoint.holder() is None:
            check_port(endpoint, job.spec.serve.port)


def _take_endpoint(
    state: StateDir, job: TrainingJob, keeper: EndpointKeeper | None, *, anew: bool
) -> tuple[EndpointKeeper | None, int | None]:
    """The keeper of the endpoint that the job published into, or the pid of the one who keeps it. `anew`: the job had
    ended before, and whoever runs it again wants it served; else an endpoint that is gone was deleted a moment ago.
    """
    assert job.spec.serve is not None
    name = job.spec.serve.endpoint
    model = job.status.model if job.status is not None else None
    if keeper is not None or model is None or not model.uri or not model.digest:
        return keeper, None
    folder = state.endpoint(name)
    if anew and (job.status is None or job.status.endpoint is None or not folder.exists()):
        publish(state, job, name, model.uri, model.digest)
    if not folder.exists():
        return None, None
    keeper = try_keeper(folder)
    return keeper, None if keeper is not None else folder.holder()


async def _keep_serving(
    state: StateDir, job: TrainingJob, keeper: EndpointKeeper | None, on_change: OnChange, stop: asyncio.Event
) -> None:
    """Raises LaunchFailed where the model was never served and cannot be."""
    model = job.status.model if job.status is not None else None
    served, sweep_at = False, 0.0
    while keeper is not None and model is not None and not keeper.deleted and not stop.is_set():
        await keeper.tick()
        seen = endpoint_seen(state, keeper.folder.name, model.digest)
        if seen.version_phase == "READY":
            served = True
            job = _note_published(state.job(job.metadata.name), job, seen)
        elif seen.version_phase == "FAILED" and not served:
            raise LaunchFailed(
                f"endpoint {seen.name!r} cannot serve version {seen.digest_version}: "
                f"{seen.version_reason or f'see {keeper.folder.server_log}'}"
            )
        on_change(job, None)
        if time.monotonic() >= sweep_at:
            sweep_at = time.monotonic() + _SWEEP_SECONDS
            await asyncio.to_thread(sweep, state, time.time())
        try:
            await asyncio.wait_for(stop.wait(), _TICK_SECONDS)
        except TimeoutError:
            continue


def _note_published(folder: JobFolder, job: TrainingJob, seen: EndpointSeen) -> TrainingJob:
    """A finished job that is served anew says where; a job that was deleted meanwhile stays deleted."""
    status = job.status if job.status is not None else JobStatus()
    reference = EndpointRef(name=seen.name, url=seen.url, version=seen.digest_version or "")
    if status.endpoint == reference and holds(status.conditions, ConditionType.PUBLISHED):
        return job
    claim = Claim(
        type=ConditionType.PUBLISHED,
        status="True",
        reason=Reason.PUBLISHED,
        message=f"endpoint {seen.name} serves the model as version {seen.digest_version}",
    )
    conditions = merge(status.conditions, [claim], generation=job.metadata.generation, now=time.time())
    status = replace(status, endpoint=reference, conditions=conditions)
    with contextlib.suppress(AlreadyRunning):
        if folder.exists():
            with folder.lock():
                folder.write_status(status)
    return replace(job, status=status)


def _outcome(job: TrainingJob, *, stopped: bool, deleted: bool) -> Outcome:
    conditions = {each.type: each for each in (job.status.conditions if job.status is not None else ())}
    summary = conditions.get("Succeeded")
    message = (summary.message or "") if summary is not None else ""
    if deleted:
        ending, message = Ending.DELETED, f"job {job.metadata.name!r} was deleted"
    elif summary is not None and summary.status == "True":
        ending = Ending.SUCCEEDED
    elif summary is not None and summary.status == "False":
        ending = Ending.FAILED
    else:
        ending = Ending.STOPPED if stopped else Ending.SUSPENDED
    return Outcome(ending=ending, job=job, message=message)
