"""The figures of a status: how far the job is, how fast, and how many workers take part.

Called by `plan`, and by the shells before they write. Figures that are not known now keep their last value: a job that
waits has not forgotten its step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from ringyard_api.jobstatus import JobStatus, WorkersStatus

from ringyard_operator.observed import GroupSeen, WorkerPhase, WorkerSeen


def workers_status(desired: int, workers: Iterable[WorkerSeen], group: GroupSeen | None) -> WorkersStatus:
    """Of the wanted indices: ready = in the view in force and attending; live = an incarnation of it runs."""
    live = {w.index for w in workers if w.phase is WorkerPhase.RUNNING and w.index < desired}
    ready = {m.index for m in group.members if m.in_view and m.index in live} if group is not None else set()
    return WorkersStatus(desired=desired, ready=len(ready), live=len(live), summary=f"{len(ready)}/{desired}")


def with_progress(status: JobStatus, group: GroupSeen | None, *, batch_size: int | None) -> JobStatus:
    """The status with the figures of the group. `batch_size`: samples of one step, None where it is not known."""
    if group is None or group.total_steps <= 0:
        return replace(status, eta_seconds=None, samples_per_second=None)
    speed = _finite(group.samples_per_second)
    left = max(0, group.total_steps - group.step)
    eta = round(left * batch_size / speed, 1) if speed and batch_size else None
    return replace(
        status,
        step=group.step,
        total_steps=group.total_steps,
        epoch=group.data_epoch,
        progress=percent(group.step, group.total_steps),
        loss=_short(group.loss),
        samples_per_second=round(speed, 1) if speed else None,
        eta_seconds=eta if left else 0.0,
        best_metric=_short(group.best_metric),
    )


def without_figures(status: JobStatus) -> JobStatus:
    """What must be written at once: everything but the figures that change with each step."""
    return replace(
        status,
        progress="",
        epoch=None,
        step=None,
        total_steps=None,
        eta_seconds=None,
        loss=None,
        samples_per_second=None,
        best_metric=None,
    )


def percent(step: int, total: int) -> str:
    """`63%`; 100 % only when nothing is left."""
    return f"{min(100, 100 * step // total)}%" if total > 0 else ""


def _short(value: float | None) -> float | None:
    """Six digits: `kubectl get` shows a figure as it stands."""
    finite = _finite(value)
    return None if finite is None else float(f"{finite:.6g}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
