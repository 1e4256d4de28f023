"""What an end costs: permanent, counted or ignored, and when the next try is due (TRAININGJOB.md §Restarts).

Called by `plan` with everything that has ended; the ledger in the status makes counting twice harmless, also across a
restart of the operator. Pure: time is an argument (Unix seconds). Which of several ends was the cause, `orders` tells.
Ideas: podFailurePolicy (KEP-3329), JobSet's failure rules, training-operator's ExitCode policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ringyard_api.jobstatus import LedgerEntry, RestartsStatus, rfc3339, seconds
from ringyard_api.launch import EXIT_NOT_FINITE, EXIT_PERMANENT, EXIT_TERMINATED
from ringyard_api.reasons import Reason
from ringyard_api.trainingjob import RunPolicySpec

from ringyard_operator.actions import Order
from ringyard_operator.observed import ExitSeen, GoneBecause, HangSeen, WorkerPhase, WorkerSeen

WORKER = -1  # process attempt of an entry that speaks of the worker itself
LEDGER_LENGTH = 200  # a job that ends more often keeps the newest
_BACK_OFF_MAX = 60.0
_REFUSED_SECONDS = 10.0
_KILLED = 137
_GONE = {
    GoneBecause.EVICTED: "was evicted",
    GoneBecause.PREEMPTED: "was preempted",
    GoneBecause.DELETED: "was deleted",
    GoneBecause.NODE_LOST: "was lost with its node",
    GoneBecause.NODE_REFUSED: "was refused by its node",
    GoneBecause.TOLD: "was told to go",
}
_OURS = "ringyard: "  # so begins what the trainer says to a user
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])")  # colours, titles (ECMA-48)
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one end costs, in one sentence."""

    kind: Literal["permanent", "counted", "ignored"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All ends, judged. `failure` ends the job. `not_before`: Unix seconds before which an index gets no new worker."""

    restarts: RestartsStatus
    orders: tuple[Order, ...] = ()
    failure: tuple[Reason, str] | None = None
    not_before: Mapping[int, float]
    silent: tuple[str, ...] = ()  # uids of workers to be replaced, because nothing is heard of them


def back_off(counted: int) -> float:
    """Seconds to wait after the `counted`-th counted end: 1, 2, 4 … 60."""
    return 0.0 if counted <= 0 else float(min(2.0 ** (min(counted, 10) - 1), _BACK_OFF_MAX))


def judge_exit(end: ExitSeen, policy: RunPolicySpec) -> Verdict:
    """One end of a training process inside a living worker."""
    who = f"worker {end.index} ended with {_named(end.exit_code)}"
    if end.hang:
        return Verdict(kind="counted", reason=f"worker {end.index} made no progress and was killed")
    if end.told:
        return Verdict(kind="ignored", reason=f"worker {end.index} was told to go")
    if end.consequence:
        return Verdict(kind="ignored", reason=f"{who} because another member had failed")
    return _judge_code(who, end.exit_code, end.out_of_memory, end.last_lines, policy)


def judge_worker(worker: WorkerSeen, policy: RunPolicySpec) -> Verdict:
    """One end of a worker (a Pod, or an agent)."""
    if worker.gone_because is not None:
        return Verdict(kind="ignored", reason=f"worker {worker.index} {_GONE[worker.gone_because]}")
    if worker.phase is WorkerPhase.LOST:
        return Verdict(kind="ignored", reason=f"worker {worker.index} is lost: its node does not answer")
    code = worker.exit_code if worker.exit_code is not None else 0
    who = f"worker {worker.index} ended with {_named(code)}"
    return _judge_code(who, code, worker.out_of_memory, worker.last_lines, policy)


def _judge_code(who: str, code: int, out_of_memory: bool, lines: Sequence[str], policy: RunPolicySpec) -> Verdict:
    said = "" if code == _KILLED else _said(lines, 1)  # who is killed has no say in it
    if out_of_memory:
        return Verdict(kind="counted", reason=f"{who}, out of memory")
    if code == EXIT_TERMINATED:
        return Verdict(kind="ignored", reason=f"{who}, it was terminated from outside")
    if code == 0:
        return Verdict(kind="counted", reason=f"{who} before there was a result")
    if code in EXIT_PERMANENT and policy.restart_policy == "ExitCode":
        return Verdict(kind="permanent", reason=who + _said(lines, 3))
    return Verdict(kind="counted", reason=f"{who}{said}")


def judge(
    before: RestartsStatus,
    *,
    exits: Iterable[ExitSeen],
    workers: Iterable[WorkerSeen],
    hangs: Iterable[HangSeen],
    policy: RunPolicySpec,
    script: bool,
    now: float,
) -> Judged:
    """Judges what is new and answers everything that waits; what is in the ledger is not counted again."""
    book = _Book(before)
    workers = tuple(workers)
    ended = [w for w in workers if _has_ended(w)]
    living = {w.uid for w in workers} - {w.uid for w in ended}
    exits = [e for e in exits if e.uid in living and not (script and e.exit_code == 0 and not e.consequence)]
    hangs = [h for h in hangs if h.uid in living]
    orders, failure = _judge_exits(book, exits, policy, script, now)
    orders += [
        Order(uid=h.uid, process_attempt=h.process_attempt, verb="KILL", reason=h.reason)
        for h in hangs
        if not h.agent_silent
    ]
    for hang in (h for h in hangs if h.agent_silent):
        verdict = Verdict(kind="counted", reason=hang.reason)
        book.note(_entry(hang.uid, hang.index, 0, WORKER, None, verdict, now), verdict)
    failure = failure or _judge_workers(book, ended, policy, script, now)
    restarts = book.restarts({w.uid for w in workers})
    if failure is None and restarts.counted > policy.backoff_limit:
        last = next((e.reason for e in reversed(book.entries) if e.counted), "")
        sentence = f"{restarts.counted} counted failures, backoffLimit is {policy.backoff_limit}; the last: {last}"
        failure = (Reason.BACKOFF_LIMIT_EXCEEDED, sentence)
    silent = tuple(sorted(h.uid for h in hangs if h.agent_silent))
    not_before = {**_after_refusals(ended), **book.not_before()}
    return Judged(restarts=restarts, orders=tuple(orders), failure=failure, not_before=not_before, silent=silent)


def _has_ended(worker: WorkerSeen) -> bool:
    """Whether a worker trains no more. Who was evicted, preempted or deleted is on its way out, and nobody waits for
    that; its object may go before anybody sees it ended.
    """
    if worker.phase is WorkerPhase.TERMINATING:
        return worker.gone_because not in (None, GoneBecause.TOLD)
    return worker.phase in (WorkerPhase.FAILED, WorkerPhase.SUCCEEDED, WorkerPhase.LOST)


def _after_refusals(ended: Iterable[WorkerSeen]) -> dict[int, float]:
    """A node that refuses a worker would refuse the next at once as well: not counted, but not in haste either."""
    refused = [w for w in ended if w.gone_because is GoneBecause.NODE_REFUSED]
    return {w.index: w.created_at + _REFUSED_SECONDS for w in sorted(refused, key=lambda w: w.attempt)}


def _judge_exits(
    book: _Book, exits: Iterable[ExitSeen], policy: RunPolicySpec, script: bool, now: float
) -> tuple[list[Order], tuple[Reason, str] | None]:
    orders: list[Order] = []
    failure: tuple[Reason, str] | None = None
    for end in sorted(exits, key=lambda e: (e.at, e.index)):
        verdict = judge_exit(end, policy)
        if verdict.kind == "permanent":
            failure = failure or (_permanent_reason(end.exit_code, end.last_lines, script), verdict.reason)
        entry = book.note(_entry_of_exit(end, verdict), verdict)
        orders.append(_order(end, verdict, book.due(entry, end.at), now))
    return orders, failure


def _judge_workers(
    book: _Book, ended: Iterable[WorkerSeen], policy: RunPolicySpec, script: bool, now: float
) -> tuple[Reason, str] | None:
    failure: tuple[Reason, str] | None = None
    for worker in sorted(ended, key=lambda w: (w.finished_at or now, w.index)):
        if worker.gone_because is GoneBecause.TOLD or (script and worker.phase is WorkerPhase.SUCCEEDED):
            continue
        verdict = judge_worker(worker, policy)
        if verdict.kind == "permanent":
            reason = _permanent_reason(worker.exit_code or 1, worker.last_lines, script)
            failure = failure or (reason, verdict.reason)
        at = worker.finished_at if worker.finished_at is not None else now
        book.note(_entry(worker.uid, worker.index, worker.attempt, WORKER, worker.exit_code, verdict, at), verdict)
    return failure


class _Book:
    """The ledger while it is written."""

    def __init__(self, before: RestartsStatus) -> None:
        self.entries = list(before.ledger)
        in_ledger = sum(1 for e in before.ledger if e.counted)
        whole = len(before.ledger) < LEDGER_LENGTH  # nothing was forgotten yet: then the entries are the truth
        self.counted, self.ignored = in_ledger if whole else max(before.counted, in_ledger), before.ignored
        self._known = {(e.uid, e.process_attempt): e for e in before.ledger}
        self._ordinals: dict[tuple[str, int], int] = {}
        ordinal = self.counted - in_ledger
        for entry in before.ledger:
            ordinal += 1 if entry.counted else 0
            self._ordinals[(entry.uid, entry.process_attempt)] = ordinal

    def note(self, entry: LedgerEntry, verdict: Verdict) -> LedgerEntry:
        """Writes an entry, unless its process has one; the answer is the one that holds."""
        key = (entry.uid, entry.process_attempt)
        if key in self._known:
            return self._known[key]
        self.entries.append(entry)
        self._known[key] = entry
        self.counted += 1 if verdict.kind == "counted" else 0
        self.ignored += 1 if verdict.kind == "ignored" else 0
        self._ordinals[key] = self.counted
        return entry

    def due(self, entry: LedgerEntry, at: float | None = None) -> float:
        """Unix seconds when the next try after this end is due. `at`: its time, where it is known more exactly."""
        at = (seconds(entry.at) if entry.at else 0.0) if at is None else at
        return at + back_off(self._ordinals[(entry.uid, entry.process_attempt)]) if entry.counted else at

    def not_before(self) -> dict[int, float]:
        """By index: when a new worker may follow one that ended by itself."""
        due: dict[int, float] = {}
        for entry in self.entries:
            if entry.process_attempt == WORKER and entry.counted:
                due[entry.index] = max(due.get(entry.index, 0.0), self.due(entry))
        return due

    def restarts(self, existing: set[str]) -> RestartsStatus:
        """The status to write. Entries of workers that exist are kept in any case: they may be reported again."""
        surplus = len(self.entries) - LEDGER_LENGTH
        kept = [e for i, e in enumerate(self.entries) if i >= surplus or e.uid in existing]
        return RestartsStatus(counted=self.counted, ignored=self.ignored, ledger=tuple(kept))


def _entry_of_exit(end: ExitSeen, verdict: Verdict) -> LedgerEntry:
    return _entry(end.uid, end.index, end.attempt, end.process_attempt, end.exit_code, verdict, end.at)


def _entry(
    uid: str, index: int, attempt: int, process_attempt: int, exit_code: int | None, verdict: Verdict, at: float
) -> LedgerEntry:
    return LedgerEntry(
        uid=uid,
        index=index,
        attempt=attempt,
        process_attempt=process_attempt,
        exit_code=exit_code,
        counted=verdict.kind == "counted",
        reason=verdict.reason,
        at=rfc3339(at),
    )


def _order(end: ExitSeen, verdict: Verdict, due: float, now: float) -> Order:
    verb = "FAIL" if verdict.kind == "permanent" else "RESTART"
    order = Order(uid=end.uid, process_attempt=end.process_attempt, verb=verb, reason=verdict.reason)
    return order if verb == "FAIL" else replace(order, delay_seconds=max(0.0, due - now))


def _permanent_reason(code: int, lines: Sequence[str], script: bool) -> Reason:
    """A user's own code may end with 3 as well: only our sentence makes it a loss that is not finite."""
    ours = code == EXIT_NOT_FINITE and not script and any("finite" in line for line in lines)
    return Reason.LOSS_NOT_FINITE if ours else Reason.PERMANENT_FAILURE


def _named(code: int) -> str:
    if code > 128:
        return f"{_SIGNALS.get(code - 128, f'signal {code - 128}')}"
    return f"exit code {code}"


def _said(lines: Sequence[str], most: int) -> str:
    """The cause in a process's own words: our trainer's sentence if there is one, else the last lines of a script."""
    clean = [line for line in (" ".join(_ESCAPES.sub("", each).split()) for each in lines) if line]
    ours = [line.removeprefix(_OURS) for line in clean if line.startswith(_OURS)]
    said = ours[-1] if ours else " | ".join(clean[-most:])
    return f": {said}" if said else ""
