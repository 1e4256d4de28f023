"""A gang's life: joining and leaving cost nobody a step, a loss costs the redo of one; over both transports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.grpc_transport import GrpcTransport
from ringyard_trainer.collective.memory import MemoryNetwork
from ringyard_trainer.collective.outcomes import Fenced, Finished, Outcome, Terminated, ViewLost
from ringyard_trainer.collective.roster import Roster
from ringyard_trainer.collective.view import Fence, Wait

BATCH = 12  # samples of a step; sample i of step s is worth (i + 1) * (s + 1)
WORTH = BATCH * (BATCH + 1) // 2


@dataclass
class Life:
    """What one member went through."""

    gang: Gang
    until: Callable[[int], bool]  # told the step that is done; True = hand the result in
    step: int = 0
    total: int = 0
    lost: int = 0
    sizes: list[int] = field(default_factory=list)
    ended_by: type[Outcome] | None = None
    thread: threading.Thread | None = None

    def start(self) -> Life:
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def join(self) -> Life:
        assert self.thread is not None
        self.thread.join(30)
        assert not self.thread.is_alive(), f"hangs at step {self.step} of {self.sizes}"
        return self

    def run(self) -> None:
        has_state = False
        self.gang.attend()
        try:
            while True:
                view = self.gang.next_view()
                self.sizes.append(view.size)
                try:
                    self._catch_up(view.rank, view.size, has_state)
                    has_state = True
                    self._steps(view.rank, view.size)
                except ViewLost:
                    self.lost += 1
        except (Finished, Fenced, Terminated) as end:
            self.ended_by = type(end)
        finally:
            self.gang.close()

    def _catch_up(self, rank: int, size: int, has_state: bool) -> None:
        vector = np.zeros(2 * size, np.int64)
        vector[2 * rank : 2 * rank + 2] = has_state, self.step
        self.gang.allreduce(vector)
        source = max(range(size), key=lambda r: (vector[2 * r], vector[2 * r + 1], -r))
        state = np.array([self.step, self.total])
        self.gang.broadcast(state, source)
        self.step, self.total = int(state[0]), int(state[1])

    def _steps(self, rank: int, size: int) -> None:
        flat = np.zeros(20_000, np.int64)
        while True:
            flat[:] = sum((i + 1) * (self.step + 1) for i in range(rank, BATCH, size))
            flat[-1] = self.gang.pending
            self.gang.allreduce(flat)
            self.total += int(flat[0])
            self.step += 1
            self.gang.report(phase="TRAINING", step=self.step)
            if self.until(self.step):
                self.gang.send_result(b"{}")
                self.until = lambda step: False
            if flat[-1] == size:
                return

    @property
    def expected(self) -> int:
        return WORTH * self.step * (self.step + 1) // 2


class Group:
    """Members in threads around one roster."""

    def __init__(self, kind: str, size: int) -> None:
        self.network, self.roster, self.kind = MemoryNetwork(), Roster(size), kind
        self.lives: list[Life] = []
        self.milestone = threading.Event()

    def member(self, until: Callable[[int], bool] = lambda step: False) -> Life:
        transport = self.network.member() if self.kind == "memory" else GrpcTransport()
        life = Life(Gang(transport=transport, desk=self.roster.desk()), until)
        self.lives.append(life)
        return life

    def reach(self, life: Life, steps: int) -> None:
        """Waits until `life` has made that many more steps."""
        goal, reached = life.step + steps, threading.Event()
        before = life.until

        def look(step: int) -> bool:
            if step >= goal:
                reached.set()
            return before(step)

        life.until = look
        assert reached.wait(30), f"stuck at step {life.step} in views {[each.sizes for each in self.lives]}"


@pytest.fixture(params=["memory", "grpc"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_newcomer_and_a_leaver_cost_nobody_a_step(kind: str) -> None:
    group = Group(kind, 2)
    first, second = group.member().start(), group.member().start()
    group.reach(first, 3)
    third = group.member().start()
    group.reach(third, 3)
    second.gang.leave("SIGTERM")
    assert second.join().ended_by is Terminated
    group.reach(third, 3)
    third.gang.send_result(b"{}")
    for life in (first.join(), third.join()):
        assert life.ended_by is Finished
        assert life.total == life.expected
        assert life.sizes[-1] == 2
    assert first.sizes == [2, 3, 2]
    assert second.lost == 0
    assert second.total == second.expected


def test_a_lost_member_costs_the_redo_of_one_step(kind: str) -> None:
    group = Group(kind, 3)
    lives = [group.member().start() for _ in range(3)]
    group.reach(lives[0], 3)
    lives[1].gang.close()
    survivors = [lives[0], lives[2]]
    group.reach(survivors[0], 3)
    survivors[1].gang.send_result(b"{}")
    for life in survivors:
        assert life.join().ended_by is Finished
        assert life.sizes == [3, 2]
        assert life.total == life.expected


def test_a_gang_of_one_needs_nobody(kind: str) -> None:
    life = Group(kind, 1).member(until=lambda step: step >= 5)
    life.run()
    assert life.ended_by is Finished
    assert life.total == life.expected


def test_a_fenced_member_is_out_of_its_operation_at_once(kind: str) -> None:
    group = Group(kind, 2)
    stuck, absent = group.member(), group.member()
    ended: list[type[Exception]] = []
    in_view = threading.Event()

    def wait_for_ever() -> None:
        stuck.gang.attend()
        stuck.gang.next_view()
        in_view.set()
        try:
            stuck.gang.allreduce(np.zeros(10))
        except ViewLost:
            with pytest.raises(Fenced):
                stuck.gang.next_view()
            ended.append(Fenced)

    thread = threading.Thread(target=wait_for_ever, daemon=True)
    thread.start()
    absent.gang.attend()
    absent.gang.next_view()
    assert in_view.wait(10)
    stuck.gang._on_directive(Fence(reason="a newer process holds the place"))
    thread.join(10)
    assert ended == [Fenced]
    for life in (stuck, absent):
        life.gang.close()


def test_a_coordinator_of_an_older_term_is_not_obeyed(kind: str) -> None:
    group = Group(kind, 1)
    member = group.member()
    member.gang.attend()
    view = member.gang.next_view()
    member.gang._on_directive(view)
    assert not member.gang.pending
    member.gang._on_directive(Wait(reason="1 of 2 workers attend"))
    assert member.gang.pending
    member.gang.close()


def test_a_member_that_waits_for_its_first_view_leaves_at_once(kind: str) -> None:
    group = Group(kind, 2)
    lonely = group.member().start()
    lonely.gang.leave("SIGTERM")
    assert lonely.join().ended_by is Terminated


def test_a_request_for_a_checkpoint_is_seen_once(kind: str) -> None:
    group = Group(kind, 1)
    member = group.member()
    member.gang.attend()
    member.gang.next_view()
    assert not member.gang.checkpoint_wanted()
    group.roster.request_checkpoint()
    assert member.gang.checkpoint_wanted()
    assert not member.gang.checkpoint_wanted()
    member.gang.close()
