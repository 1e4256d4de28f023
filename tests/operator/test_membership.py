"""Views: who is in, who is out, who is asked to wait, and that no innocent is ever put out."""

from __future__ import annotations

import pytest
from ringyard_operator.membership import BREAK_SECONDS, GATHER_SECONDS, REGATHER_SECONDS, SETTLE_SECONDS, Membership
from ringyard_operator.views import Arrival, View, Wanted


class Table:
    """A membership with a clock: members are numbered by their key, which is their worker index unless told."""

    def __init__(self, replicas: int, minimum: int = 1, *, term: int = 1, stall: float = 30.0) -> None:
        self.now = 1000.0
        self.core = Membership(term, Wanted(replicas=replicas, min_replicas=minimum, stall_seconds=stall))

    def hello(
        self, worker: int, *, key: int | None = None, attempt: int = 0, process_attempt: int = 0,
        last_epoch: tuple[int, int] | None = None, last_size: int = 0, has_state: bool = False,
    ) -> None:  # fmt: skip
        arrival = Arrival(
            worker=worker,
            process=0,
            incarnation=f"u{worker}-{attempt}",
            attempt=attempt,
            process_attempt=process_attempt,
            address=f"h:{worker}",
            last_epoch=last_epoch,
            last_size=last_size,
            has_state=has_state,
        )
        self.core.hello(worker if key is None else key, arrival, self.now)

    def progress(self, key: int, step: int, op: int = 0, *, phase: str = "TRAINING", view: int | None = None) -> None:
        number = view if view is not None else (self.core.view.number if self.core.view else 0)
        self.core.progress(
            key, phase=phase, step=step, entered_op=op, in_view=(self.core.term, number), has_state=True, now=self.now
        )

    def decide(self, after: float = 0.0) -> View | None:
        self.now += after
        return self.core.decide(self.now).view

    def train(self, *workers: int, step: int = 1) -> View:
        for worker in workers:
            self.hello(worker)
        view = self.decide()
        assert view is not None
        for worker in workers:
            self.progress(worker, 0)
            self.progress(worker, step, op=step)
        return view


def members(view: View | None) -> list[int]:
    assert view is not None
    return [m.arrival.worker for m in view.members]


def test_the_first_view_comes_when_all_replicas_attend_in_rank_order() -> None:
    table = Table(3)
    for worker in (2, 0):
        table.hello(worker)
        assert table.decide() is None
    table.hello(1)
    view = table.decide()
    assert members(view) == [0, 1, 2]
    assert view is not None and not view.urgent and (view.term, view.number) == (1, 1)
    assert table.decide() is None


def test_the_first_view_goes_without_the_missing_ten_seconds_after_the_minimum() -> None:
    table = Table(4, 2)
    table.hello(0)
    assert table.decide(GATHER_SECONDS * 2) is None
    assert table.core.waiting == "1 of 4 workers attend, minReplicas is 2"
    table.hello(3)
    assert table.decide() is None
    assert table.decide(GATHER_SECONDS - 0.1) is None
    assert members(table.decide(0.2)) == [0, 3]


def test_newcomers_of_one_moment_join_in_one_planned_view() -> None:
    table = Table(4)
    table.now = 0
    table.core.want(Wanted(replicas=2))
    table.train(0, 1)
    table.core.want(Wanted(replicas=4))
    table.hello(3)
    assert table.decide() is None
    table.hello(2)
    assert table.decide(SETTLE_SECONDS / 2) is None
    view = table.decide(SETTLE_SECONDS)
    assert members(view) == [0, 1, 2, 3] and view is not None and not view.urgent and view.leader == 0


def test_the_leader_is_the_lowest_rank_that_has_the_state() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.lost(0, table.now)
    assert members(table.decide()) == [1, 2]
    table.hello(0, key=10, process_attempt=1)
    view = table.decide(SETTLE_SECONDS)
    assert members(view) == [0, 1, 2] and view is not None and view.leader == 1


def test_a_lost_member_brings_an_urgent_view_at_once() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.lost(1, table.now)
    view = table.decide()
    assert members(view) == [0, 2] and view is not None and view.urgent and view.reason == "worker 1 was lost"


def test_below_the_minimum_all_wait_and_are_told_why_and_go_on_with_a_newcomer() -> None:
    table = Table(3, 3)
    table.train(0, 1, 2)
    table.core.lost(2, table.now)
    assert table.decide() is None and table.core.view is None and table.core.wait_urgent
    assert table.core.waiting == "2 of 3 workers attend, minReplicas is 3"
    table.hello(2, key=12, process_attempt=1)
    view = table.decide()
    assert members(view) == [0, 1, 2] and view is not None and view.number == 2 and view.leader == 0


def test_who_leaves_stays_until_the_planned_view_without_it() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.leaving(0, "scaled", table.now)
    table.core.leaving(1, "scaled", table.now)
    view = table.decide(0.2)
    assert members(view) == [2] and view is not None and not view.urgent
    table.core.lost(0, table.now)
    assert table.decide() is None and not table.core.gone


def test_the_last_leavers_are_let_go() -> None:
    table = Table(2, 1)
    table.train(0, 1)
    for key in (0, 1):
        table.core.leaving(key, "stopped", table.now)
    assert table.decide(0.2) is None
    assert table.core.view is None and not table.core.wait_urgent


def test_a_worker_that_is_scaled_away_is_not_in_the_next_view_even_if_it_says_nothing() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.want(Wanted(replicas=2, indices=frozenset({0, 1})))
    assert members(table.decide()) == [0, 1]


@pytest.mark.parametrize(("attempt", "process_attempt"), [(1, 0), (0, 1)])
def test_a_newer_incarnation_fences_the_older(attempt: int, process_attempt: int) -> None:
    table = Table(2)
    table.train(0, 1)
    table.hello(1, key=11, attempt=attempt, process_attempt=process_attempt)
    decision = table.core.decide(table.now)
    assert [key for key, _ in decision.fenced] == [1]
    assert decision.view is not None and decision.view.urgent and decision.view.rank_of(11) == 1
    table.hello(1, key=12)
    decision = table.core.decide(table.now)
    assert [key for key, _ in decision.fenced] == [12] and decision.view is None


def test_an_accused_member_that_lives_is_never_put_out_all_reconnect_instead() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.peer_lost(0, (1, 1), 1, "reset", table.now)
    assert table.decide(BREAK_SECONDS / 2) is None
    view = table.decide(BREAK_SECONDS)
    assert members(view) == [0, 1, 2] and view is not None and view.urgent and view.number == 2
    table.core.peer_lost(0, (1, 1), 1, "an old epoch", table.now)
    assert table.decide(BREAK_SECONDS * 10) is None
    table.core.peer_lost(0, (1, 2), 1, "again", table.now)
    assert table.decide(BREAK_SECONDS) is None  # twice as patient the second time
    assert members(table.decide(BREAK_SECONDS)) == [0, 1, 2]


def test_an_accused_member_whose_stream_breaks_is_out_without_the_wait() -> None:
    table = Table(3)
    table.train(0, 1, 2)
    table.core.peer_lost(0, (1, 1), 1, "reset", table.now)
    table.core.lost(1, table.now)
    assert members(table.decide()) == [0, 2]
    assert table.decide(BREAK_SECONDS * 2) is None


def test_a_new_coordinator_waits_for_the_whole_view_that_it_finds() -> None:
    table = Table(3, term=2)
    table.hello(0, last_epoch=(1, 7), last_size=3, has_state=True)
    table.hello(1, last_epoch=(1, 7), last_size=3, has_state=True)
    assert table.decide(1) is None
    table.hello(2, last_epoch=(1, 7), last_size=3, has_state=True)
    view = table.decide()
    assert members(view) == [0, 1, 2] and view is not None and not view.urgent and (view.term, view.number) == (2, 1)


def test_a_new_coordinator_gives_an_urgent_view_when_somebody_did_not_come_back() -> None:
    table = Table(3, term=2)
    table.hello(0, last_epoch=(1, 7), last_size=3, has_state=True)
    table.hello(2, last_epoch=(1, 7), last_size=3, has_state=True)
    assert table.decide(REGATHER_SECONDS - 0.1) is None
    view = table.decide(0.2)
    assert members(view) == [0, 2] and view is not None and view.urgent


def test_the_one_that_did_not_enter_the_op_is_blamed_for_a_stall() -> None:
    table = Table(3, stall=30)
    table.train(0, 1, 2)
    for key, op in ((0, 2), (1, 1), (2, 2)):
        table.progress(key, 1, op)
    assert table.decide(29) is None
    view = table.decide(2)
    assert members(view) == [0, 2] and view is not None and view.urgent
    assert [h.index for h in table.core.hangs.values()] == [1]


@pytest.mark.parametrize("phase", ["LOADING", "EVALUATING", "EXPORTING", "CHECKPOINTING", "FINISHED"])
def test_no_stall_is_seen_while_a_member_does_something_else_than_steps(phase: str) -> None:
    table = Table(2, stall=30)
    table.train(0, 1)
    table.progress(0, 1, 2, phase=phase)
    assert table.decide(1000) is None and not table.core.hangs


def test_no_stall_is_seen_before_the_first_step() -> None:
    table = Table(2, stall=30)
    for worker in (0, 1):
        table.hello(worker)
    table.decide()
    for worker in (0, 1):
        table.progress(worker, 0)
    assert table.decide(1000) is None and not table.core.hangs


def test_a_stall_without_a_culprit_reconnects_all_and_then_blames_who_does_not_come_along() -> None:
    table = Table(3, stall=30)
    table.train(0, 1, 2)
    for key in (0, 1, 2):
        table.progress(key, 1, 2)
    view = table.decide(31)
    assert members(view) == [0, 1, 2] and view is not None and view.urgent and not table.core.hangs
    for key in (0, 2):
        table.progress(key, 1, 2, view=2)
    table.progress(1, 1, 2, view=1)
    assert members(table.decide(31)) == [0, 2]
    assert [h.index for h in table.core.hangs.values()] == [1]


def test_a_frozen_member_that_comes_back_is_a_newcomer() -> None:
    table = Table(2)
    table.train(0, 1)
    table.core.lost(1, table.now)
    table.decide()
    assert ("u1-0", 0) in table.core.gone
    table.hello(1, key=21, last_epoch=(1, 1), has_state=True)
    assert members(table.decide(SETTLE_SECONDS)) == [0, 1] and not table.core.gone


def test_nobody_joins_while_the_leader_evaluates_but_its_loss_takes_all_who_attend() -> None:
    table = Table(3)
    table.core.want(Wanted(replicas=2))
    table.train(0, 1)
    table.core.want(Wanted(replicas=3))
    table.progress(0, 9, phase="EVALUATING")
    table.hello(2)
    assert table.decide(5) is None
    table.core.lost(0, table.now)
    assert members(table.decide()) == [1, 2]
