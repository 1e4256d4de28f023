"""Which workers there should be, and so which to start, stop and forget. Called by `plan` while the job runs.

A worker is an index with an attempt; attempts only grow, so a replacement never waits for the one before to be gone. It
does not know why something ended: `restart` says when an index may have a new worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ringyard_operator.actions import Action, ForgetWorker, StartWorker, StopWorker
from ringyard_operator.observed import WorkerPhase, WorkerSeen

ALIVE = frozenset({WorkerPhase.PENDING, WorkerPhase.RUNNING, WorkerPhase.TERMINATING})
_STOPPABLE = frozenset({WorkerPhase.PENDING, WorkerPhase.RUNNING})
_FROZEN_GRACE = 1.0  # seconds: who does not report will not obey a SIGTERM either


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The actions on workers, the attempts that are given now, and when the next index is due (Unix seconds)."""

    actions: tuple[Action, ...]
    attempts: Mapping[str, int]
    wake_at: float | None
    delayed: Mapping[int, float]  # index -> when it is started again


def alive(workers: Iterable[WorkerSeen]) -> tuple[WorkerSeen, ...]:
    """Those that hold resources, by index and attempt."""
    return tuple(sorted((w for w in workers if w.phase in ALIVE), key=lambda w: (w.index, w.attempt)))


def stop_all(workers: Iterable[WorkerSeen], reason: str, *, but: Collection[str] = ()) -> tuple[Action, ...]:
    """SIGTERM to everybody who was not told yet, except for the uids in `but`."""
    return tuple(_stop(w, reason) for w in alive(workers) if w.phase in _STOPPABLE and w.uid not in but)


def muster(
    workers: Iterable[WorkerSeen],
    *,
    replicas: int,
    given: Mapping[str, int],
    not_before: Mapping[int, float],
    silent: Collection[str],
    done: bool,
    may_start: bool = True,
    now: float,
) -> Roster:
    """The wanted workers are 0 … replicas-1. `done`: who has ended well (a script's exit 0) is not started again.

    Where none `may_start`, no attempt is used up either.
    """
    by_index: dict[int, list[WorkerSeen]] = defaultdict(list)
    for worker in workers:
        by_index[worker.index].append(worker)
    attempts = dict(given)
    for index, mine in by_index.items():  # what exists was given, also where the status has lost it
        attempts[str(index)] = max(attempts.get(str(index), -1), *(w.attempt for w in mine))
    actions: list[Action] = []
    delayed: dict[int, float] = {}
    for index in sorted(by_index):
        actions += _tidy(by_index[index], wanted=index < replicas, replicas=replicas, silent=silent)
    for index in range(replicas):
        mine = sorted(by_index.get(index, []), key=lambda w: w.attempt)
        if _has_worker(mine, silent, done):
            continue
        due = not_before.get(index, 0.0)
        if now < due and may_start:
            delayed[index] = due
            continue
        if not may_start:
            continue
        attempt = max([attempts.get(str(index), -1), *(w.attempt for w in mine)]) + 1
        attempts[str(index)] = attempt
        reason = "wanted" if attempt == 0 else "its predecessor is gone"
        actions.append(StartWorker(index=index, attempt=attempt, reason=reason))
    wake_at = min(delayed.values(), default=None)
    return Roster(actions=tuple(actions), attempts=attempts, wake_at=wake_at, delayed=delayed)


def _has_worker(mine: list[WorkerSeen], silent: Collection[str], done: bool) -> bool:
    """Whether the index needs no new worker. One that goes (told, or silent) is replaced before it is gone."""
    if not mine:
        return False
    newest = mine[-1]
    if newest.phase is WorkerPhase.SUCCEEDED and done:
        return True
    return newest.phase in _STOPPABLE and newest.uid not in silent


def _tidy(mine: list[WorkerSeen], *, wanted: bool, replicas: int, silent: Collection[str]) -> list[Action]:
    """The newest worker stays whatever became of it, and so does the last that failed by itself: for whoever looks."""
    mine = sorted(mine, key=lambda w: w.attempt)
    failed = [w for w in mine if w.phase is WorkerPhase.FAILED and w.gone_because is None]
    actions: list[Action] = []
    for worker in mine:
        newest = worker is mine[-1]
        kept = wanted and (newest or worker in failed[-1:])
        if worker.phase in _STOPPABLE:
            if not wanted:
                actions.append(_stop(worker, f"scaled to {replicas}"))
            elif worker.uid in silent:
                actions.append(_stop(worker, "nothing is heard of it", _FROZEN_GRACE))
            elif not newest:
                actions.append(_stop(worker, "a newer attempt has taken its place"))
        elif worker.phase not in ALIVE and worker.phase is not WorkerPhase.LOST and not kept:
            actions.append(ForgetWorker(index=worker.index, attempt=worker.attempt, uid=worker.uid))
    return actions


def _stop(worker: WorkerSeen, reason: str, grace_seconds: float = 30.0) -> StopWorker:
    return StopWorker(
        index=worker.index, attempt=worker.attempt, uid=worker.uid, reason=reason, grace_seconds=grace_seconds
    )
