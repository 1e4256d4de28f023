"""What the agent does about its process, by orders, exits, signals and time; the clock is an argument."""

from __future__ import annotations

import pytest
from ringyard_api.launch import EXIT_TERMINATED
from ringyard_trainer.agent_rules import GRACE_SECONDS, AgentRules, Order, Step


def doings(rules: AgentRules, now: float) -> list[str]:
    """Everything that is due at that moment."""
    found: list[Step] = []
    while (step := rules.due(now)) is not None and step.do != "end":
        found.append(step)
        if step.do == "start":
            rules.started(rules.next_attempt)
    return [each.do for each in [*found, *([step] if step is not None else [])]]


def running(attempt: int = 0, grace: float = GRACE_SECONDS) -> AgentRules:
    rules = AgentRules(grace)
    rules.ordered(Order(verb="RESTART", process_attempt=attempt), 0.0)
    assert doings(rules, 0.0) == ["start"]
    return rules


@pytest.mark.parametrize(("grace", "for_the_process"), [(30, 25), (120, 115), (6, 5)])
def test_a_sigterm_is_passed_on_once_and_who_does_not_go_is_killed_in_time(grace: int, for_the_process: int) -> None:
    rules = running(grace=grace)
    rules.told(1.0)
    rules.told(2.0)
    assert doings(rules, 2.0) == ["terminate"]
    assert doings(rules, 0.9 + for_the_process) == []
    assert doings(rules, 1.0 + for_the_process) == ["kill"]
    rules.exited(137, at=100.0)
    ended = rules.due(2.0 + for_the_process)
    assert ended is not None and (ended.do, ended.exit_code) == ("end", EXIT_TERMINATED)


def test_a_sigterm_while_the_process_is_being_started_still_reaches_it() -> None:
    rules = AgentRules()
    rules.ordered(Order(verb="RESTART"), 0.0)
    step = rules.due(0.0)
    assert step is not None and step.do == "start"
    rules.told(0.0)  # the signal handler, between the fork and the note of it
    rules.started(0)
    assert doings(rules, 0.1) == ["terminate"]


def test_an_order_that_is_repeated_or_late_changes_nothing() -> None:
    rules = running(attempt=1)
    for attempt in (0, 1, 2):
        rules.ordered(Order(verb="RESTART", process_attempt=attempt), 1.0)
    rules.ordered(Order(verb="KILL", process_attempt=0), 1.0)
    assert doings(rules, 1.0) == []
    rules.ordered(Order(verb="KILL", process_attempt=1), 1.0)
    assert doings(rules, 1.0) == ["kill"]
    rules.exited(137, at=100.0)
    rules.ordered(Order(verb="RESTART", process_attempt=1), 2.0)
    assert doings(rules, 2.0) == []
    rules.ordered(Order(verb="RESTART", process_attempt=2, delay_seconds=3.0), 2.0)
    assert doings(rules, 4.9) == [] and rules.next_clock() == 5.0
    assert doings(rules, 5.0) == ["start"] and rules.process_attempt == 2


def test_a_worker_that_nobody_asks_for_any_more_leaves_with_what_it_is() -> None:
    rules = running()
    rules.orphaned(60.0, 60.0)
    assert doings(rules, 60.0) == ["terminate"] and rules.leaving == EXIT_TERMINATED
    done = running()
    done.exited(0, at=1.0)
    done.orphaned(60.0, 60.0)
    ended = done.due(60.0)
    assert ended is not None and (ended.do, ended.exit_code) == ("end", 0)
