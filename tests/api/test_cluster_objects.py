"""Objects as an API server gives them: a status edited by hand stops nobody, and what no pod can do is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ringyard_api import claims
from ringyard_api.clusterobject import endpoint_of, job_of
from ringyard_api.loading import to_object
from ringyard_api.trainingjob import TrainingJob
from ringyard_api.validation import cluster_problems

STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "Running",
            "message": "3 of 3 workers train",
            "lastTransitionTime": "2026-11-21T10:50:21Z",
            "observedGeneration": 3,
        }
    ],
    "restarts": {
        "counted": 1,
        "ignored": 0,
        "ledger": [{"uid": "u1", "index": 1, "attempt": 0, "processAttempt": 0, "exitCode": 137, "counted": True}],
    },
    "attempts": {"0": 0, "1": 2},
    "step": 7,
    "loss": 1,
    "startTime": "2026-11-21T10:50:21Z",
    "workers": {"desired": 3, "ready": 3, "live": 3, "summary": "3/3"},
}


def an_object(status: Any = None, **spec: Any) -> dict[str, Any]:
    given = {
        "model": {"factory": "ringyard_trainer.models:mlp"},
        "data": {"uri": "sklearn://digits"},
        "fit": {"epochs": 1},
        **spec,
    }
    metadata = {"name": "digits", "namespace": "ml", "uid": "u", "generation": 3, "resourceVersion": "7"}
    return {"metadata": {**metadata, "managedFields": [{}], "finalizers": []}, "spec": given, "status": status}


def job(**spec: Any) -> TrainingJob:
    made, problems = job_of(an_object(**spec))
    assert problems == ()
    return made


def test_what_other_programs_note_on_an_object_is_no_problem_of_ours() -> None:
    given = an_object()
    last = "kubectl.kubernetes.io/last-applied-configuration"
    given["metadata"] |= {"annotations": {last: "x" * 9000}, "ownerReferences": [{}], "generateName": "d-"}
    assert job_of(given)[1] == () and endpoint_of({**given, "spec": {}})[1] == ()


def test_what_we_wrote_ourselves_is_read_back_as_it_was() -> None:
    made, problems = job_of(an_object(STATUS))
    assert problems == () and made.status is not None and made.metadata.uid == "u"
    again = to_object(made.status)
    assert {name: again[name] for name in STATUS if name not in ("restarts", "loss")} == {
        name: value for name, value in STATUS.items() if name not in ("restarts", "loss")
    }
    assert made.status.restarts.ledger[0].exit_code == 137 and made.status.loss == 1.0


@pytest.mark.parametrize(
    "status",
    [
        None,
        7,
        [],
        "broken",
        {"conditions": "none", "restarts": [], "attempts": 3, "workers": None, "startTime": "yesterday"},
        {"conditions": [None, 3, {}, {"type": "Succeeded"}, {"type": "Mine", "status": "True", "reason": "R"}]},
        {"restarts": {"counted": -4, "ledger": [7, {}, {"uid": "", "index": 0, "attempt": 0}, {"uid": "u"}]}},
        {"attempts": {"0": 10**30, "x": 1, "1": -1, "2": "3", "3": True}, "step": "many", "progress": "900%"},
        {"completionTime": "0001-01-01T00:00:00Z", "model": {"uri": 3}, "endpoint": {}, "unknown": {"a": 1}},
    ],
)
def test_a_status_of_any_shape_is_read_and_nothing_of_it_is_believed_that_is_not_sound(status: Any) -> None:
    found = job_of(an_object(status))[0].status
    assert found is not None
    assert not found.conditions and not found.attempts and not found.restarts.ledger
    assert not found.progress
    assert (found.start_time, found.completion_time, found.model, found.endpoint) == ("", "", None, None)


def test_one_rotten_entry_does_not_spoil_the_others() -> None:
    spoilt = {
        **STATUS,
        "conditions": [*STATUS["conditions"], {"type": "Running", "status": "Maybe", "reason": "x"}],
        "attempts": {"0": 0, "1": 2, "huge": 10**30},
        "restarts": {**STATUS["restarts"], "ledger": [{"uid": 1}, *STATUS["restarts"]["ledger"]]},
    }
    found = job_of(an_object(spoilt))[0].status
    assert found is not None and [each.type for each in found.conditions] == ["Succeeded"]
    assert found.attempts == {"0": 0, "1": 2} and found.restarts.counted == 1 and len(found.restarts.ledger) == 1


def test_a_spec_that_breaks_a_rule_is_read_and_told_and_one_that_cannot_be_read_has_a_name_still() -> None:
    made, problems = job_of(an_object(fit={}))
    assert made.spec.fit is not None and [each.path for each in problems] == ["spec.fit"]
    made, problems = job_of(an_object(fit=7, model="x"))
    assert made.metadata.name == "digits" and {each.path for each in problems} == {"spec.fit", "spec.model"}
    endpoint, problems = endpoint_of({"metadata": {"name": "e"}, "status": {"versions": [{}, 3]}})
    assert problems == () and endpoint.status is not None and endpoint.status.versions == ()


@pytest.mark.parametrize(
    ("spec", "path", "says"),
    [
        ({"storage": {"uri": "s3://bucket/x"}}, "spec.storage.uri", "s3:// is not supported yet (pvc:// is)"),
        ({"storage": {"uri": "file:///tmp"}}, "spec.storage.uri", "a place that no pod sees"),
        ({"storage": {"uri": "pvc://models/../x"}}, "spec.storage.uri", "plain folder below the claim"),
        ({"storage": {"uri": "pvc://Models/x"}}, "spec.storage.uri", "name of a PersistentVolumeClaim"),
        ({"serve": {"endpoint": "digits"}}, "spec.storage.uri", "`serve` needs storage that outlives the workers"),
        ({"data": {"uri": "data.csv", "label": "y"}}, "spec.data.uri", "a place that no pod sees"),
        ({"code": {"path": "code"}}, "spec.code.path", "use code.configMap"),
        ({"workers": {"processes": 2}}, "spec.workers.processes", "not supported yet"),
        ({"workers": {"template": {"spec": {"hostname": "x"}}}}, "spec.workers.template.spec.hostname", "leave it out"),
    ],
)
def test_what_no_pod_can_do_is_refused_with_its_place_and_a_remedy(spec: dict[str, Any], path: str, says: str) -> None:
    (problem,) = cluster_problems(job(**spec))
    assert problem.path == path and says in problem.message


def test_a_job_on_claims_has_nothing_to_be_refused_for() -> None:
    on_claims = {"data": {"uri": "pvc://sets/a.csv", "label": "y"}, "storage": {"uri": "pvc://models"}}
    assert cluster_problems(job(**on_claims, code={"configMap": "mine"}, serve={"endpoint": "digits"})) == ()


def test_a_folder_on_a_claim_is_the_same_place_for_whoever_mounts_it() -> None:
    folder = claims.parse("pvc://models/runs//a/").below("digits-1")
    assert (folder.uri, folder.mounted) == ("pvc://models/runs/a/digits-1", "/ringyard/claims/models/runs/a/digits-1")
    assert claims.mounted_uri(folder.uri) == f"file://{folder.mounted}"
    assert claims.mounted_uri("sklearn://digits") == "sklearn://digits"
    assert claims.parse("pvc://models").below("x").uri == "pvc://models/x"
