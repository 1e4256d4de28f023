"""What agents are answered: starts, restarts after the plan's word, kills, the end; and what caused an end."""

from __future__ import annotations

from typing import Any

from ringyard_operator.actions import Order
from ringyard_operator.orders import SCRIPT_SETTLE_SECONDS, SETTLE_SECONDS, Agents, Answer, Report
from ringyard_operator.scripts import Scripts
from ringyard_operator.views import Wanted

WALL = 1_000_000.0


def report(index: int = 0, *, running: bool = True, attempt: int = 0, process_attempt: int = 0, **more: Any) -> Report:
    return Report(
        index=index,
        uid=f"u{index}-{attempt}",
        attempt=attempt,
        process_attempt=process_attempt,
        running=running,
        **more,
    )


def ended(index: int = 0, code: int = 137, *, at: float = WALL, process_attempt: int = 0, **more: Any) -> Report:
    return report(index, running=False, exit_code=code, exited_at=at, process_attempt=process_attempt, **more)


def tell(agents: Agents, what: Report, *, view: int = 0, now: float = 0.0) -> Answer:
    return agents.report(what, view=view, wall=WALL + now, now=now)


def three(view: int) -> tuple[tuple[str, int], ...]:
    return (("u0-0", 0), ("u1-0", 0), ("u2-0", 0)) if view else ()


def test_a_new_agent_of_a_fit_starts_at_once() -> None:
    answer = tell(Agents(), report(running=False))
    assert (answer.verb, answer.process_attempt) == ("RESTART", 0)


def test_an_exit_waits_for_the_plan_and_then_gets_its_order_each_time_it_is_told() -> None:
    agents = Agents()
    assert tell(agents, ended()).verb == "CONTINUE"
    agents.order(Order(uid="u0-0", process_attempt=0, verb="RESTART", delay_seconds=4), 1.0)
    answer = tell(agents, ended(), now=2.0)
    assert (answer.verb, answer.process_attempt, answer.delay_seconds) == ("RESTART", 1, 3.0)
    agents.order(Order(uid="u0-0", process_attempt=0, verb="RESTART", delay_seconds=4), 3.0)
    assert tell(agents, ended(), now=3.0).delay_seconds == 2.0


def test_an_older_incarnation_is_sent_away() -> None:
    agents = Agents()
    agents.incarnations = {0: ("u0-1", 1)}
    assert tell(agents, report(0)).verb == "LEAVE"
    assert tell(agents, report(0, attempt=1)).verb == "CONTINUE"


def test_a_hang_is_killed_and_its_exit_says_so() -> None:
    agents = Agents()
    agents.order(Order(uid="u0-0", process_attempt=0, verb="KILL", reason="hangs"), 0.0)
    assert tell(agents, report()).verb == "KILL"
    tell(agents, ended())
    agents.order(Order(uid="u0-0", process_attempt=0, verb="KILL", reason="hangs"), 0.0)
    agents.order(Order(uid="u0-0", process_attempt=0, verb="RESTART"), 0.0)
    assert agents.publish(three, 9.0)[0].hang
    assert tell(agents, ended()).verb == "RESTART"


def test_after_the_end_whoever_has_ended_is_done() -> None:
    agents = Agents()
    agents.finish("the result stands", 0.0)
    assert tell(agents, report()).verb == "CONTINUE"
    assert tell(agents, ended(code=0)).verb == "DONE"
    assert tell(agents, report(1, running=False)).verb == "DONE"
    assert tell(agents, report(2), now=60.0).verb == "KILL"


def test_the_first_failure_of_a_view_is_the_cause_and_the_others_are_its_consequences() -> None:
    agents = Agents()
    tell(agents, ended(1, 1, at=WALL + 0.02), view=5, now=0.1)
    tell(agents, ended(0, 137, at=WALL + 0.01), view=5, now=0.2)
    assert agents.publish(three, 0.2) == ()
    told = {e.index: e.consequence for e in agents.publish(three, 0.1 + SETTLE_SECONDS)}
    assert told == {0: False, 1: True}
    tell(agents, ended(2, 1), view=5, now=5.0)
    assert {e.index for e in agents.publish(three, 5.0) if e.consequence} == {1, 2}


def test_ends_before_any_view_are_told_at_once_and_each_is_its_own_cause() -> None:
    agents = Agents()
    tell(agents, ended(0, 2), view=0)
    tell(agents, ended(1, 2), view=0)
    assert [e.consequence for e in agents.publish(three, 0.0)] == [False, False]


class Gang:
    """Agents of a `command` job with a clock, and a port that rises."""

    def __init__(self, replicas: int, minimum: int = 1) -> None:
        self.agents = Agents()
        self.agents.script = True
        self.ports = iter(range(5000, 6000))
        self.scripts = Scripts(self.agents, lambda _gang: next(self.ports))
        self.wanted = Wanted(replicas=replicas, min_replicas=minimum)
        self.now = 0.0

    def tell(self, what: Report) -> Answer:
        view = self.scripts.number_of(what.process)
        answer = self.agents.report(what, view=view, wall=WALL + self.now, now=self.now)
        return self.scripts.answer(what, answer, self.wanted, self.now)

    def order_all(self) -> None:
        for seen in self.agents.publish(self.scripts.members_of, self.now):
            order = Order(uid=seen.uid, process_attempt=seen.process_attempt, verb="RESTART")
            self.agents.order(order, self.now)


def test_a_script_starts_when_all_workers_are_there_with_the_environment_of_a_rendezvous() -> None:
    gang = Gang(2)
    assert gang.tell(report(1, running=False)).verb == "CONTINUE"
    first = gang.tell(report(0, running=False))
    second = gang.tell(report(1, running=False))
    assert (first.verb, first.environment["RANK"], first.environment["WORLD_SIZE"]) == ("RESTART", "0", "2")
    assert second.environment["RANK"] == "1" and second.environment["MASTER_PORT"] == first.environment["MASTER_PORT"]
    assert second.environment["MASTER_ADDR"] == "127.0.0.1" and second.environment["PET_NNODES"] == "2"


def test_when_one_of_a_script_fails_the_others_are_consequences_and_all_start_anew_on_a_new_port() -> None:
    gang = Gang(3)
    for index in (0, 1, 2, 0, 1, 2):
        old = gang.tell(report(index, running=False))
    for index in (0, 1, 2):
        gang.tell(report(index))
    gang.tell(ended(1, 1, at=WALL + 0.1))  # a peer that dies of it is heard of first
    gang.tell(ended(0, 137, at=WALL + 0.2))
    gang.now = SCRIPT_SETTLE_SECONDS + 1
    for what in (report(2), ended(1, 1), ended(0, 137)):
        gang.tell(what)
    told = {e.index: e.consequence for e in gang.agents.publish(gang.scripts.members_of, gang.now)}
    assert told == {0: False, 1: True}
    gang.order_all()
    assert gang.tell(report(2)).verb == "KILL"
    assert gang.tell(ended(0, 137)).verb == "CONTINUE"
    gang.tell(ended(2, 137))
    gang.tell(ended(1, 1))
    gang.order_all()
    answers = [gang.tell(ended(0, 137)), gang.tell(ended(1, 1)), gang.tell(ended(2, 137))]
    assert [(a.verb, a.process_attempt) for a in answers] == [("RESTART", 1)] * 3
    assert answers[0].environment["MASTER_PORT"] != old.environment["MASTER_PORT"]


def test_a_script_that_dies_because_a_worker_is_lost_is_a_consequence_not_a_permanent_failure() -> None:
    gang = Gang(2)
    for index in (0, 1, 0, 1):
        gang.tell(report(index, running=False))
    for index in (0, 1):
        gang.tell(report(index))
    for _ in range(5):
        gang.now += 1.0
        gang.tell(ended(0, 1))
    assert [e.consequence for e in gang.agents.publish(gang.scripts.members_of, gang.now)] == [True]


def test_scaling_a_script_starts_the_gang_anew_with_the_new_world_size() -> None:
    gang = Gang(1)
    gang.tell(report(0, running=False))
    gang.tell(report(0))
    gang.wanted = Wanted(replicas=2)
    gang.tell(report(1, running=False))
    assert gang.tell(report(0)).verb == "KILL"
    gang.tell(ended(0, 137))
    gang.order_all()
    assert [e.consequence for e in gang.agents.publish(gang.scripts.members_of, gang.now)] == [True]
    assert gang.tell(ended(0, 137)).environment["WORLD_SIZE"] == "2"
    assert gang.tell(report(1, running=False)).environment["RANK"] == "1"


def test_a_new_coordinator_takes_a_running_gang_over_without_touching_it() -> None:
    gang = Gang(2)
    for index in (0, 1, 0, 1):
        assert gang.tell(report(index, process_attempt=4)).verb == "CONTINUE"
    assert gang.scripts.gang is not None and gang.scripts.gang.members == {0: ("u0-0", 4), 1: ("u1-0", 4)}


def test_a_script_whose_members_have_all_ended_well_is_done() -> None:
    gang = Gang(2)
    for index in (0, 1, 0, 1):
        gang.tell(report(index, running=False))
    for index in (0, 1):
        gang.tell(report(index))
    for index in (0, 1, 0, 1):
        assert gang.tell(ended(index, 0)).verb == "CONTINUE"
    assert gang.scripts.is_done()
