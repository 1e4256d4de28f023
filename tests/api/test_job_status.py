"""The status is plain data that comes back as it was written, with times that a human can read."""

from __future__ import annotations

import pytest
from ringyard_api.jobstatus import Condition, JobStatus, LedgerEntry, ModelStatus, RestartsStatus, rfc3339, seconds
from ringyard_api.loading import from_object, to_object
from ringyard_api.reasons import ConditionType, Reason
from ringyard_api.trainingjob import TrainingJob
from test_loading_manifests import GOOD


def test_times_are_utc_with_whole_seconds_both_ways() -> None:
    assert rfc3339(0.9) == "1970-01-01T00:00:00Z"
    assert seconds(rfc3339(1_795_258_221.7)) == 1_795_258_221
    assert seconds("2026-11-21T12:00:00+01:00") == seconds("2026-11-21T11:00:00Z")
    with pytest.raises(ValueError, match="Invalid isoformat"):
        seconds("yesterday")


def test_a_status_survives_the_way_to_disk_and_back() -> None:
    condition = Condition(type=ConditionType.RUNNING, status="True", reason=Reason.RUNNING, message="it trains")
    entry = LedgerEntry(uid="u", index=1, attempt=0, exit_code=137, counted=True, at=rfc3339(0))
    status = JobStatus(
        observed_generation=2,
        conditions=(condition,),
        restarts=RestartsStatus(counted=1, ledger=(entry,)),
        attempts={"0": 3},
        loss=0.25,
        model=ModelStatus(uri="file:///model", digest="sha256:0", metrics={"accuracy": 1.0}),
    )
    plain = to_object(status)
    assert plain["conditions"][0] == {"type": "Running", "status": "True", "reason": "Running", "message": "it trains"}
    job = from_object({**GOOD, "status": plain})
    assert isinstance(job, TrainingJob) and job.status == status
