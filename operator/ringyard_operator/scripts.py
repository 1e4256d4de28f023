"""When the processes of a `command` job start together, and with which environment.

A script's collective is its own, so it cannot lose or gain a member: whenever one fails, or another number of workers
is wanted, the whole gang is started anew with a new rendezvous. Asked by the coordinator's servicer with each report.
Pure: the port comes as a function, time as an argument. It does not judge exits (`orders`, `restart`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringyard_operator.orders import Agents, Answer, Report
from ringyard_operator.views import Wanted

ADOPT_SECONDS = 3.0  # a new coordinator waits so long for the agents of a gang that runs
GATHER_SECONDS = 10.0  # after `minReplicas` are ready, before the gang starts without the others
# On a cluster nobody can look for a free port in the pod of the first member. These are torch's own and upwards, below
# the ephemeral ports that our servers and everybody's connections get.
PORTS = range(29500, 30500)


def gang_port(term: int, number: int) -> int:
    """The port of a gang's rendezvous on a cluster: another one for each gang, because the one before may linger."""
    return PORTS[(31 * term + number) % len(PORTS)]


@dataclass(frozen=True, kw_only=True)
class Gang:
    """Processes that run together: index -> (uid of the worker, process attempt)."""

    number: int
    members: Mapping[int, tuple[str, int]]
    environments: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


class Scripts:
    """The gang of one `command` job."""

    def __init__(self, agents: Agents, pick_port: Callable[[int], int]) -> None:
        self.gang: Gang | None = None
        self.hosts: Mapping[int, str] = {}
        self.waiting = "no worker reports yet"
        self.changes = 0
        self.too_few_since: float | None = None  # when fewer than `minReplicas` were ready first, and nothing ran
        self._agents = agents
        self._pick_port = pick_port
        self._first_report_at: float | None = None
        self._enough_since: float | None = None

    def members_of(self, number: int) -> tuple[tuple[str, int], ...]:
        """The processes of a gang; empty for one that is not the present one."""
        return tuple(self.gang.members.values()) if self.gang is not None and self.gang.number == number else ()

    def number_of(self, process: tuple[str, int]) -> int:
        """Number of the present gang if the process is of it, else 0."""
        return self.gang.number if self.gang is not None and process in self.gang.members.values() else 0

    def answer(self, report: Report, answer: Answer, wanted: Wanted, now: float) -> Answer:
        """Refines the answer to an agent: starts are made together."""
        if self._first_report_at is None:
            self._first_report_at = now
        self.advance(wanted, now)
        if report.running and self._agents.is_killed(report.process):
            return Answer(verb="KILL", process_attempt=report.process_attempt, reason="its gang starts anew")
        if answer.verb != "CONTINUE" or report.running or self.gang is None:
            return answer
        member = self.gang.members.get(report.index)
        if member is None or member[0] != report.uid or not (report.is_new or member[1] > report.process_attempt):
            return answer
        return Answer(
            verb="RESTART",
            process_attempt=member[1],
            delay_seconds=self._agents.remaining_delay(report, now),
            reason=f"gang {self.gang.number} starts",
            environment=self.gang.environments.get(report.index, {}),
        )

    def advance(self, wanted: Wanted, now: float) -> None:
        """Makes a gang where there can be one, ends one that is not whole any more."""
        indices = wanted.indices if wanted.indices is not None else frozenset(range(wanted.replicas))
        current = {r.index: r for r in self._agents.reports.values() if self._is_current(r, indices)}
        if self.gang is None:
            self._adopt(current, indices, now)
        if self.gang is not None and self._is_broken(current, indices, wanted):
            for index, member in self.gang.members.items():
                if index in current and current[index].running and current[index].process == member:
                    self._agents.kill(member)
        self._form(current, indices, wanted, now)

    def _is_current(self, report: Report, indices: frozenset[int]) -> bool:
        newest = self._agents.incarnations.get(report.index)
        mine = newest is None or newest[0] == report.uid
        return mine and report.index in indices and not report.terminating and not self._agents.silent(report.uid)

    def _adopt(self, current: Mapping[int, Report], indices: frozenset[int], now: float) -> None:
        """A gang that ran before this coordinator came: whoever has started a process is of it."""
        started = {i: r.process for i, r in current.items() if not r.is_new}
        since = self._first_report_at if self._first_report_at is not None else now
        if started and (len(current) == len(indices) or now >= since + ADOPT_SECONDS):
            self.gang = Gang(number=1, members=started)

    def _is_broken(self, current: Mapping[int, Report], indices: frozenset[int], wanted: Wanted) -> bool:
        gang = self.gang
        if gang is None:
            return False
        if self._agents.had_incident(gang.number) or any(i not in indices for i in gang.members):
            return True
        replaced = any(i in current and current[i].uid != uid for i, (uid, _) in gang.members.items())
        fallen = [i for i, r in current.items() if r.process == gang.members.get(i) and self._agents.may_restart(r)]
        newcomers = [i for i, r in current.items() if i not in gang.members and self._is_ready(r)]
        return replaced or bool(fallen) or (bool(newcomers) and not self.is_done(current))

    def is_done(self, current: Mapping[int, Report] | None = None) -> bool:
        """Whether every process of the gang has ended with 0."""
        if self.gang is None:
            return False
        reports = current if current is not None else {r.index: r for r in self._agents.reports.values()}
        ended = [reports.get(index) for index in self.gang.members]
        return all(r is not None and not r.running and not r.is_new and r.exit_code == 0 for r in ended)

    def result(self) -> Mapping[str, Any] | None:
        """The gang's result: None until each of its processes has ended with 0, then what the first one with a model
        has left, else the first one's.
        """
        if self.gang is None or not self.is_done():
            return None
        reports = {r.uid: r for r in self._agents.reports.values()}
        members = [reports.get(uid) for _, (uid, _) in sorted(self.gang.members.items())]
        left = [r.result for r in members if r is not None and r.result is not None]
        return next((found for found in left if found.get("model")), left[0] if left else None)

    def _form(self, current: Mapping[int, Report], indices: frozenset[int], wanted: Wanted, now: float) -> None:
        if self._agents.finishing or (self.gang is not None and not self._is_over(current, indices, wanted)):
            self.too_few_since = None
            return
        ready = {i: r for i, r in current.items() if self._is_ready(r)}
        if any(r.running for r in current.values()):
            self.waiting, self._enough_since = "the processes of the gang before have not ended yet", None
            return
        if len(ready) < max(1, wanted.min_replicas):
            self.waiting = f"{len(ready)} of {len(indices)} workers are ready, minReplicas is {wanted.min_replicas}"
            self._enough_since = None
            self.too_few_since = self.too_few_since if self.too_few_since is not None else now
            return
        self.too_few_since = None
        self._enough_since = self._enough_since if self._enough_since is not None else now
        if len(ready) < len(indices) and now < self._enough_since + GATHER_SECONDS:
            self.waiting = f"{len(ready)} of {len(indices)} workers are ready; the others have a few seconds"
            return
        self._start(ready)

    def _is_over(self, current: Mapping[int, Report], indices: frozenset[int], wanted: Wanted) -> bool:
        """Whether the present gang has to be followed by another: it is broken, or it never came to run as a whole."""
        return not self.is_done(current) and self._is_broken(current, indices, wanted)

    def _is_ready(self, report: Report) -> bool:
        return not report.running and (report.is_new or report.exit_code == 0 or self._agents.may_restart(report))

    def _start(self, ready: Mapping[int, Report]) -> None:
        number = self.gang.number + 1 if self.gang is not None else 1
        members = {i: (r.uid, 0 if r.is_new else r.process_attempt + 1) for i, r in sorted(ready.items())}
        host, port = self._host(ready[min(members)]), self._pick_port(number)
        environments = {index: _environment(rank, len(members), host, port) for rank, index in enumerate(members)}
        self.gang = Gang(number=number, members=members, environments=environments)
        self.changes += 1 if number > 1 else 0
        self.waiting, self._enough_since = "", None

    def _host(self, first: Report) -> str:
        """An address, not a name: it holds as long as the gang, since losing that worker starts another one, and DNS
        learns of a new pod seconds late and remembers for half a minute that it did not know it.
        """
        return self.hosts.get(first.index) or first.host or "127.0.0.1"


def _environment(rank: int, size: int, host: str, port: int) -> dict[str, str]:
    """What torch.distributed reads by `env://`, and torchrun by `PET_*`."""
    return {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_RANK": str(rank),
        "PET_NNODES": str(size),
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": str(port),
    }
