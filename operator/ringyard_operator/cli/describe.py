"""What a human is told of a job: the row of `ringyard list`, the screen of `ringyard status`, the one sentence why.

Pure: time is an argument, and it reads the same status that Kubernetes would show. `show`, `run` and `display` call it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringyard_api.jobstatus import Condition, JobStatus, seconds
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.cli.output import span, table
from ringyard_operator.cli.sources import Care

HEAD = ("NAME", "STATE", "WORKERS", "STEP", "PROGRESS", "LOSS", "ENDPOINT", "AGE")


def find(status: JobStatus | None, kind: str) -> Condition | None:
    """The condition of that type, letter case aside."""
    for condition in status.conditions if status else ():
        if condition.type.lower() == kind.lower():
            return condition
    return None


def holds(status: JobStatus | None, kind: str) -> bool:
    """Whether that condition is there and `True`."""
    condition = find(status, kind)
    return condition is not None and condition.status == "True"


def finished(job: TrainingJob) -> bool:
    """Whether the job has ended, well or badly: nothing will change its conditions any more."""
    summary = find(job.status, "Succeeded")
    return summary is not None and summary.status in ("True", "False")


def state_word(job: TrainingJob) -> str:
    """One word: the reason of the summary condition, as `kubectl get tj` prints it."""
    summary = find(job.status, "Succeeded")
    return summary.reason if summary is not None else "Submitted"


def why(job: TrainingJob, care: Care) -> str:
    """One sentence: what the job does, or why it does not run and what makes it go on."""
    summary = find(job.status, "Succeeded")
    said = summary.message if summary is not None else ""
    again = f"`{care.makes}` with its manifest goes on from the last checkpoint"
    if finished(job):
        return said
    if holds(job.status, "Suspended") or (job.spec.run_policy.suspend and not care.alive):
        return f"it was stopped: {again}"
    return said or care.unseen if care.alive else f"no supervisor runs it now: {again}"


def step_text(status: JobStatus | None) -> str:
    """`120/500`, or `120` while the total is not known, or nothing."""
    if status is None or status.step is None or (not status.step and not status.total_steps):
        return ""
    return f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step)


def loss_text(loss: float | None) -> str:
    """Four significant digits."""
    return "" if loss is None else f"{loss:.4g}"


def rate_text(rate: float | None) -> str:
    """`850 samples/s`, `12.3k samples/s`."""
    if not rate:
        return ""
    return f"{rate / 1000:.1f}k samples/s" if rate >= 10_000 else f"{rate:.0f} samples/s"


def workers_text(job: TrainingJob) -> str:
    """`3/4`: workers that train, of those that are wanted."""
    status = job.status
    if status is not None and status.workers is not None and status.workers.summary:
        return status.workers.summary
    return f"0/{job.spec.workers.replicas}"


def row(job: TrainingJob, now: float) -> list[str]:
    """One line of `ringyard list`; `now` in Unix seconds."""
    status = job.status
    endpoint = status.endpoint.name if status and status.endpoint else ""
    created = job.metadata.creation_timestamp
    age = span(now - seconds(created)) if created else ""
    loss = loss_text(status.loss if status else None)
    progress = status.progress if status and status.progress else ""
    return [job.metadata.name, state_word(job), workers_text(job), step_text(status), progress, loss, endpoint, age]


def screen(job: TrainingJob, now: float, care: Care) -> str:
    """What `ringyard status NAME` prints; `now` in Unix seconds."""
    status = job.status
    lines = [("Name", job.metadata.name), ("State", state_word(job)), ("Why", why(job, care))]
    if care.pid is not None:
        lines.append(("Supervisor", f"pid {care.pid}"))
    lines.append(("Workers", workers_text(job)))
    if status is not None:
        lines += _progress(status) + _results(status)
    width = max(len(name) for name, _ in lines) + 2
    text = "".join(f"{name + ':':<{width}} {value}\n" for name, value in lines if value)
    return text + ("\n" + conditions_table(status.conditions, now) if status and status.conditions else "")


def conditions_table(conditions: Sequence[Condition], now: float) -> str:
    """The conditions as columns, with the time since each changed."""
    head = ("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")
    rows = []
    for condition in conditions:
        since = span(now - seconds(condition.last_transition_time)) if condition.last_transition_time else ""
        rows.append([condition.type, condition.status, condition.reason, since, condition.message])
    return table(head, rows)


def _progress(status: JobStatus) -> list[tuple[str, str]]:
    step = step_text(status)
    if step and status.progress:
        step = f"{step} ({status.progress})"
    restarts = status.restarts
    counted = f"{restarts.counted} counted, {restarts.ignored} ignored" if restarts is not None else ""
    return [
        ("Step", step),
        ("Loss", loss_text(status.loss)),
        ("Speed", rate_text(status.samples_per_second)),
        ("Ends in", span(status.eta_seconds)),
        ("Restarts", counted),
    ]


def _results(status: JobStatus) -> list[tuple[str, str]]:
    lines = []
    if status.model is not None:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in (status.model.metrics or {}).items())
        lines += [("Model", status.model.uri or ""), ("Metrics", metrics)]
    if status.endpoint is not None:
        version = f" version {status.endpoint.version}" if status.endpoint.version else ""
        url = f" at {status.endpoint.url}" if status.endpoint.url else ""
        lines.append(("Endpoint", f"{status.endpoint.name}{version}{url}"))
    return lines
