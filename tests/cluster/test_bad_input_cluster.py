"""Bad input through kubectl: one sentence, one event, no storm, nobody else harmed; mended, the job goes on."""

# A row of a table is one line.
# ruff: noqa: E501
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from installed_operator import InstalledOperator
from jobs_on_cluster import SLEEPS, TRAINER, Job, attempt_of, script
from kubectl import Kubectl
from storage_claims import Claims

CALM = 20  # seconds in which a job that retries at 1, 2, 4, 8 s would have told its story several times


@pytest.fixture
def unharmed(operator: InstalledOperator, kubectl: Kubectl) -> Iterator[None]:
    """The operator's processes stay the same, its rights suffice, and a job beside the bad one trains and ends."""

    def restarts() -> dict[str, int]:
        return {
            pod["metadata"]["uid"]: sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
            for pod in operator.pods()
        }

    before, neighbour = restarts(), Job(kubectl, script("neighbour", SLEEPS))
    neighbour.until_running(1)
    yield
    assert restarts() == before
    assert 'is forbidden: User "system:serviceaccount:' not in operator.logs(1000), "its rights do not suffice"
    last = Job(kubectl, script("comes-last", "true"))
    last.until_ended()
    assert neighbour.running(0) and attempt_of(neighbour.pod(0)) == 0


def events_of(job: Job, reason: str) -> list[dict[str, Any]]:
    """What the operator said of the job with that reason; the kubelet's and the scheduler's words are of pods."""
    return [each for each in job.kubectl.events(job.name) if each["reason"] == reason]


def told_once(job: Job, reason: str, sentence: str) -> None:
    """The condition has the sentence, an event told it once, and no pod was made in vain."""
    condition = job.condition()
    assert (condition["reason"], sentence in condition["message"]) == (reason, True), condition
    assert "\n" not in condition["message"]
    told = events_of(job, reason)
    assert len(told) == 1, told
    assert told[0].get("count") in (None, 1)
    assert sentence in told[0]["message"]
    assert {attempt_of(pod) for pod in job.pods()} <= {0}
    assert job.counted() == 0


def with_environment(secret: str) -> dict[str, Any]:
    """A template whose worker reads an entry of a Secret."""
    entry = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}}
    return {"template": {"spec": {"containers": [{"name": "worker", "env": [entry]}]}}}


@pytest.mark.usefixtures("unharmed")
def test_what_is_absent_is_named_once_and_once_it_is_there_the_job_goes_on(kubectl: Kubectl, claim: Claims) -> None:
    place = f"does not exist in namespace {kubectl.namespace}: create it"
    jobs = {
        "no-image": (script("no-image", SLEEPS, image="ringyard.invalid/absent:1"), "ImageUnavailable", "image ringyard.invalid/absent:1 cannot be pulled"),
        "no-secret": (script("no-secret", SLEEPS, workers=with_environment("absent")), "ConfigMissing", f"Secret absent {place}"),
        "no-claim": (script("no-claim", SLEEPS, storage={"uri": "pvc://absent/runs"}), "VolumeUnavailable", f"PersistentVolumeClaim absent {place}"),
        "no-code": (script("no-code", SLEEPS, code={"configMap": "absent"}), "ConfigMissing", f"ConfigMap absent {place}"),
    }  # fmt: skip
    made = {name: Job(kubectl, manifest) for name, (manifest, _, _) in jobs.items()}
    for name, (_, reason, _) in jobs.items():
        made[name].until_reason(reason)
    time.sleep(CALM)
    for name, (_, reason, sentence) in jobs.items():
        told_once(made[name], reason, sentence)
    table = kubectl.run("get", "tj")
    assert "ImageUnavailable" in table and "VolumeUnavailable" in table
    assert "cannot be pulled" in kubectl.run("describe", "tj", "no-image")
    claim("absent")
    kubectl.run("create", "secret", "generic", "absent", "--from-literal=password=open")
    kubectl.run("create", "configmap", "absent", "--from-literal=own.py=")
    for name in ("no-claim", "no-secret", "no-code"):
        made[name].until_running(1)


@pytest.mark.usefixtures("unharmed")
def test_a_quota_that_is_used_up_is_told_once_and_a_higher_one_lets_the_rest_start(kubectl: Kubectl) -> None:
    kubectl.wait_until(lambda: kubectl.all("pods", "ringyard.dev/job=neighbour"), "the neighbour's pod", 30)
    kubectl.run("create", "quota", "small", "--hard=pods=2")
    kubectl.wait_until(lambda: kubectl.get("quota", "small").get("status", {}).get("used"), "the quota counts", 30)
    job = Job(kubectl, script("too-many", SLEEPS, replicas=3))
    job.until_reason("QuotaExceeded")
    time.sleep(CALM)
    told_once(job, "QuotaExceeded", f"quota small of namespace {kubectl.namespace} is exceeded")
    assert len(job.pods()) == 1
    kubectl.patch("quota", "small", {"spec": {"hard": {"pods": "9"}}})
    job.until_running(3)
    assert job.counted() == 0


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("name", "template", "reason", "sentence"),
    [
        ("no-number", {"containers": [{"name": "worker", "resources": {"limits": {"cpu": "many"}}}]}, "TemplateRefused", "quantities must match"),
        ("no-taint", {"tolerations": [{"operator": "Maybe"}]}, "TemplateRefused", "Unsupported value"),
        ("privileged", {"hostNetwork": True}, "Forbidden", "violates PodSecurity"),
        ("rank", {"containers": [{"name": "worker", "env": [{"name": "RANK", "value": "0"}]}]}, "TemplateRefused", "RANK is set by Ringyard: leave it out"),
    ],
)  # fmt: skip
def test_a_template_that_gives_no_pod_is_told_in_the_words_of_who_refuses_it(
    kubectl: Kubectl, name: str, template: dict[str, Any], reason: str, sentence: str
) -> None:
    job = Job(kubectl, script(name, SLEEPS, workers={"template": {"spec": template}}))
    job.until_reason(reason)
    time.sleep(CALM / 2)
    told_once(job, reason, sentence)
    assert job.pods() == []


@pytest.mark.usefixtures("unharmed")
def test_what_only_a_laptop_can_do_fails_the_job_at_once_with_the_remedy(kubectl: Kubectl) -> None:
    job = Job(kubectl, script("laptop", SLEEPS, storage={"uri": "file:///data/runs"}))
    assert job.until_ended("False")["reason"] == "NotSupported"
    told_once(job, "NotSupported", "spec.storage.uri: ")
    assert job.pods() == []


@pytest.mark.usefixtures("unharmed")
def test_a_status_edited_by_hand_changes_no_worker_and_is_put_right(kubectl: Kubectl) -> None:
    job = Job(kubectl, script("edited", SLEEPS, replicas=2))
    job.until_running(2)
    before = {pod["metadata"]["uid"] for pod in job.pods()}
    nonsense: dict[str, Any] = {
        "attempts": {"0": -7, "one": 3}, "progress": "900%", "step": 10**12, "startTime": "yesterday",
        "conditions": [{"type": "Weather", "status": "True", "reason": "Rain"}], "workers": {"summary": "9/9"},
        "restarts": {"counted": 99, "ledger": [{"uid": "", "index": 0, "attempt": 0}]},
    }  # fmt: skip
    for body in (nonsense, {"conditions": None, "workers": None, "attempts": None, "selector": None}, None):
        kubectl.patch("tj", "edited", {"status": body}, "--subresource=status")
        job.until("the status is ours again", lambda: job.status().get("workers", {}).get("desired") == 2)
        job.until("a summary", lambda: job.condition().get("reason") == "Running")
    assert kubectl.ask(
        "patch", "tj/edited", "--subresource=status", "--type=merge", "-p", '{"status":{"step":"x"}}'
    ).returncode
    assert {pod["metadata"]["uid"] for pod in job.pods()} == before
    assert not kubectl.condition("tj", "edited", "Weather")


@pytest.mark.usefixtures("unharmed")
def test_in_a_namespace_that_goes_nothing_is_made_anew(kubectl: Kubectl, busybox: Any) -> None:
    """Somebody's finalizer holds job and namespace; the operator has to look on."""
    name = f"{kubectl.namespace[:50]}-goes"
    kubectl.within("").run("create", "namespace", name)
    there = kubectl.within(name)
    there.wait_until(lambda: there.find("serviceaccount", "default"), "the default ServiceAccount", 30)
    held = script("held", SLEEPS, replicas=2)
    held["metadata"]["finalizers"] = ["tests.ringyard.dev/held"]
    job = Job(there, held)
    try:
        job.until_running(2)
        kubectl.within("").run("delete", "namespace", name, "--wait=false")
        job.until("its pods are gone", lambda: job.pods() == [])
        time.sleep(CALM / 2)
        assert job.pods() == []
    finally:
        there.patch("tj", "held", {"metadata": {"finalizers": None}})
    there.wait_until(lambda: there.within("").find("namespace", name) is None, "the namespace is gone", 60)


@pytest.mark.usefixtures("unharmed")
def test_a_job_whose_name_has_63_characters_runs_like_any_other(kubectl: Kubectl) -> None:
    job = Job(kubectl, script("d" * 63, "hostname", replicas=2))
    job.until_ended()
    hosts = {pod["spec"]["hostname"] for pod in job.pods()}
    assert len(hosts) == 2 and all(len(host) <= 63 for host in hosts)


@pytest.mark.usefixtures("unharmed")
def test_a_job_that_the_schema_refuses_leaves_no_trace(kubectl: Kubectl) -> None:
    told = kubectl.refusal(script("never", SLEEPS, replicas=0))
    assert "spec.workers.replicas: Invalid value: 0: must be at least 1" in told
    assert TRAINER and kubectl.find("tj", "never") is None
