"""Whatever somebody wrote into a status: the plan answers, and what it writes passes the CRD's schema."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from ringyard_api import crd
from ringyard_api.clusterobject import job_of
from ringyard_api.loading import to_object
from ringyard_operator.observed import Observed, WorkerPhase
from ringyard_operator.plan import plan
from test_plan import NOW, running, worker

WHEN = "2026-11-21T10:50:21Z"
NONSENSE: tuple[Any, ...] = (
    *(None, 0, -1, 1e400, 10**30, True, "", "x", [], {}, [None], [{}], {"a": {}}),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-13-01", float("nan")),
)
SOUND: dict[str, Any] = {
    "observedGeneration": 3,
    "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running", "lastTransitionTime": WHEN}],
    "restarts": {
        "counted": 1,
        "ignored": 0,
        "ledger": [
            {"uid": "u1-0", "index": 1, "attempt": 0, "processAttempt": -1, "counted": True, "at": WHEN},
            {"uid": "gang-timeout", "index": 0, "attempt": 0, "at": WHEN},
        ],
    },
    "attempts": {"0": 0, "1": 2},
    "model": {"uri": "pvc://models/a", "digest": "d", "metrics": {"accuracy": 1}},
    "endpoint": {"name": "x", "url": "y", "version": "1"},
    "workers": {"desired": 3, "ready": 3, "live": 3, "summary": "3/3"},
    "startTime": WHEN,
    "completionTime": WHEN,
    "term": 3,
    "step": 7,
}
SEEN = (
    Observed(),
    running(1),
    Observed(workers=(worker(0, WorkerPhase.LOST), worker(1, WorkerPhase.FAILED, exit_code=137))),
    running(1, result={"metrics": {}, "model": None}),
)
SCHEMA = jsonschema.Draft4Validator(
    crd.trainingjobs()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
)


def edited(value: Any, dice: random.Random) -> Any:
    if dice.random() < 0.12:
        return dice.choice(NONSENSE)
    if isinstance(value, dict):
        kept = {name: edited(each, dice) for name, each in value.items() if dice.random() > 0.05}
        return {**kept, dice.choice(["zz", "0", "77"]): dice.choice(NONSENSE)} if dice.random() < 0.1 else kept
    if isinstance(value, list):
        return [edited(each, dice) for each in value for _ in range(dice.choice([1, 1, 2]))]
    return value


@pytest.mark.parametrize("seed", range(40))
def test_any_status_is_followed_by_a_sound_one(seed: int) -> None:
    dice = random.Random(seed)
    policy = {"activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 30, "suspend": seed % 5 == 0}
    for _ in range(5):
        obj = {"metadata": {"name": "digits", "uid": "u"}, "spec": {"command": ["sh"], "runPolicy": policy}}
        job, problems = job_of({**obj, "status": edited(SOUND, dice)})
        assert problems == ()
        for seen in SEEN:
            written = to_object(plan(job, seen, NOW).status)
            json.dumps(written, allow_nan=False)
            SCHEMA.validate(written)
