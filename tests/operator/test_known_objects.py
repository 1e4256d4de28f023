"""What the operator knows of its own objects: the newest wins, and a watch that has gone silent is found out."""

from __future__ import annotations

from typing import Any

from ringyard_operator.kube.kinds import TRAINING_JOBS
from ringyard_operator.kube.known import Known, key_of

KIND = TRAINING_JOBS.kind


def job(version: int, name: str = "digits", *, step: int = 0) -> dict[str, Any]:
    metadata = {"namespace": "lab", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"kind": KIND, "metadata": metadata, "status": {"step": step}}


KEY = key_of(KIND, job(1))


def test_an_event_that_comes_late_does_not_undo_what_we_wrote_ourselves() -> None:
    known = Known()
    woken = []
    known.changed = woken.append
    known.heard(KIND, job(7), gone=False)
    known.remember(KIND, job(9, step=5))
    known.heard(KIND, job(8), gone=False)
    assert known.get(KEY) == job(9, step=5) and woken == [KEY, KEY]
    known.heard(KIND, job(9, step=5), gone=False)
    assert woken == [KEY, KEY], "our own write wakes nobody a second time"


def test_a_watch_is_silent_from_when_it_owes_a_version_until_it_brings_it() -> None:
    known = Known()
    known.heard(KIND, job(7), gone=False)
    assert known.silence() == 0
    known.remember(KIND, job(9))
    assert known.silence() > 0
    known.heard(KIND, job(8), gone=False)
    assert known.silence() > 0
    known.heard(KIND, job(12), gone=False)
    assert known.silence() == 0


def test_a_list_brings_what_the_watch_has_missed_deletions_included_and_takes_back_nothing() -> None:
    known = Known()
    for name in ("digits", "gone", "young"):
        known.heard(KIND, job(20 if name == "young" else 7, name), gone=False)
    assert known.listed(TRAINING_JOBS, [job(9), job(8, "new")], "10", "lab") == 3
    assert {key.name for key in known.all_keys()} == {"digits", "new", "young"}, "what is younger than the list stays"
    assert known.get(KEY) == job(9) and known.silence() > 0
    known.heard(KIND, job(9), gone=False)
    known.heard(KIND, job(8, "new"), gone=False)
    known.heard(KIND, job(10, "gone"), gone=True)
    assert known.silence() == 0
    assert known.listed(TRAINING_JOBS, [], "30", "elsewhere") == 0, "a list of another namespace says nothing here"
