"""Which changes of conditions are told as Events: each once, in a sentence, and nothing that is no news."""

from __future__ import annotations

from ringyard_api.jobstatus import Condition
from ringyard_operator.kube.events import news


def said(kind: str, status: str, reason: str, message: str = "so it is") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)  # type: ignore[arg-type]


BEGUN = (
    said("Succeeded", "Unknown", "Starting"),
    said("Running", "False", "Starting"),
    said("Degraded", "False", "Starting", "0 of 3 workers train"),
    said("Suspended", "False", "NotSuspended", "the job is not suspended"),
    said("Failed", "False", "Running", "the job has not failed"),
)


def test_conditions_that_say_the_same_are_one_event_and_what_never_held_is_none() -> None:
    assert [(each.reason, each.message, each.warning) for each in news((), BEGUN)] == [("Starting", "so it is", False)]
    assert news(BEGUN, BEGUN) == ()


def test_a_sentence_that_changes_is_no_event_and_a_reason_is() -> None:
    told = (said("Succeeded", "Unknown", "Starting", "another sentence"), *BEGUN[1:])
    assert news(BEGUN, told) == ()
    waits = (said("Succeeded", "Unknown", "QuotaExceeded", "quota small is exceeded"), *BEGUN[1:])
    assert [(each.reason, each.warning) for each in news(BEGUN, waits)] == [("QuotaExceeded", True)]


def test_what_fails_warns_once_and_what_recovers_is_told() -> None:
    down = (said("Degraded", "True", "Degraded", "2 of 3 workers train"),)
    up = (said("Degraded", "False", "AllWorkersReady", "3 of 3 workers train"),)
    assert [each.warning for each in news(BEGUN, down)] == [True]
    assert [(each.reason, each.warning) for each in news(down, up)] == [("AllWorkersReady", False)]
    failed = (
        said("Succeeded", "False", "DeadlineExceeded", "too long"),
        said("Failed", "True", "DeadlineExceeded", "too long"),
    )
    assert [(each.message, each.warning) for each in news(up, failed)] == [("too long", True)]
