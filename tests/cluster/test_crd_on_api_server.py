"""A real API server says of a bad manifest what the CLI says, keeps immutable fields, and shows our columns.

The tables of tests/api are put to it in a dry run, so nothing is started. Types, enumerations, lengths and unknown
fields it refuses in its own words: there only the place must be right.
"""

# A row of a table is one line.
# ruff: noqa: E501
from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from kubectl import Kubectl
from ringyard_api.validation import IMMUTABLE_SAYS, immutable_paths
from test_crd_agrees import BOUNDS, ENDPOINT, ENDPOINTS, FIELDS
from test_loading_manifests import GOOD, ONE_FIELD, changed, problems
from test_manifest_rules import PYTHON_ONLY, RULES

THEIR_WORDS = re.compile(
    r"must be (an integer|a finite number|true or false|a text|a list|a mapping,|one of)|unknown field|unknown step"
    r"|must have at most|'\w' stands there twice|is missing: (?!name the column)|must be a mapping with one key, .* 'stand"
)
OPERATOR_ASKS = re.compile(r"spec\.workers\.template\.|is not one of data\.features")  # no schema can
NO_DOCUMENT = re.compile(r"(apiVersion|kind|metadata): |finite number, got nan|fit 64 bits")  # goes to no CRD's schema
MANAGED = changed(GOOD, "spec.runPolicy", {"managedBy": "tests.ringyard.dev/nobody"})
PLURAL = {"TrainingJob": "trainingjobs", "ModelEndpoint": "modelendpoints"}


class ApiDoor:
    """The API server behind `kubectl proxy`: hundreds of questions without a process each."""

    def __init__(self, port: int, namespace: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.namespace = namespace

    def said(self, method: str, manifest: dict[str, Any], kind: str = "TrainingJob", name: str = "") -> str:
        """The API server's message on a dry run with kubectl's strict validation; "" = accepted."""
        path = f"/apis/ringyard.dev/v1alpha1/namespaces/{self.namespace}/{PLURAL[kind]}" + (f"/{name}" if name else "")
        how = "application/merge-patch+json" if method == "PATCH" else "application/json"
        body = json.dumps(manifest)
        self.connection.request(method, f"{path}?dryRun=All&fieldValidation=Strict", body, {"Content-Type": how})
        answer = self.connection.getresponse()
        told = json.loads(answer.read())
        return "" if answer.status < 300 else str(told["message"])


@pytest.fixture
def door(kubectl: Kubectl) -> Iterator[ApiDoor]:
    with subprocess.Popen(kubectl.command("proxy", "--port=0"), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ApiDoor(int(process.stdout.readline().rpartition(":")[2]), kubectl.namespace)
        finally:
            process.terminate()


def judged(said: list[str], message: str) -> str:
    """Why the API server's message does not suit what Python says; "" = it does."""
    if not said:
        return f"Python accepts it, the API server says {message}" if message else ""
    path, sentence = said[0].split(": ", 1)
    if OPERATOR_ASKS.search(said[0]):
        return f"is the operator's to ask, the API server says {message}" if message else ""
    if THEIR_WORDS.search(said[0]):
        return "" if message and path.rpartition(".")[2].split("[")[0] in message else f"{path} is not named: {message}"
    sentence = re.sub(r"^'\w' (is the label)", r"\1", re.sub(r", got .*", "", sentence))
    place = re.escape(path) if "is the label" not in sentence else r"spec\.data\.preprocess"
    wanted = rf"{place}: Invalid value: .*{re.escape(sentence)}"
    return "" if re.search(wanted, message) else f"{said[0]!r} is not said: {message}"


def test_the_api_server_says_the_sentence_of_the_command_line(door: ApiDoor) -> None:
    manifests = [changed(base, path, value) for base, path, value, _ in (*RULES, *PYTHON_ONLY)]
    manifests += [changed(GOOD, path, value) for path, value, said in ONE_FIELD if not NO_DOCUMENT.search(said)]
    manifests += [changed(GOOD, f"spec.{path}", value) for path, value in (*FIELDS, *BOUNDS)]
    manifests += [changed(ENDPOINT, path, value) for path, value, _ in ENDPOINTS]
    assert len(manifests) > 100
    told = [judged(problems(each), door.said("POST", each, each["kind"])) for each in manifests]
    assert [why for why in told if why] == []


def test_kubectl_apply_shows_the_sentence_and_refuses_a_field_that_is_unknown(kubectl: Kubectl) -> None:
    bad = changed(changed(GOOD, "spec.fit.steps", 9), "spec.workers.minReplicas", 7)
    told = kubectl.refusal(bad)
    assert "* spec.fit: Invalid value: give exactly one of epochs and steps" in told
    assert "* spec.workers.minReplicas: Invalid value: must be at most replicas: lower minReplicas" in told
    assert 'unknown field "spec.workers.replcas"' in kubectl.refusal(changed(GOOD, "spec.workers.replcas", 3))


@pytest.mark.parametrize("name", ["d" * 63, "a-1"])
def test_a_name_that_a_pods_host_can_carry_is_taken(door: ApiDoor, name: str) -> None:
    assert door.said("POST", changed(GOOD, "metadata.name", name)) == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("d" * 64, "must have at most 63 characters"), ("1st", "must be a lower-case name: a letter, then"), ("a.b", "must be a lower")],
)  # fmt: skip
def test_a_name_that_it_cannot_is_refused_in_our_words(door: ApiDoor, name: str, sentence: str) -> None:
    assert f"metadata.name: Invalid value: {sentence}" in door.said("POST", changed(GOOD, "metadata.name", name))


IMMUTABLE: dict[str, Any] = {
    "spec.image": "a:1", "spec.workers.processes": 2, "spec.workers.resources": {"limits": {"cpu": 1}}, "spec.workers.template": {"spec": {"nodeName": "a"}},
    "spec.model": {"factory": "a:b"}, "spec.command": ["python"], "spec.code": {"configMap": "c"}, "spec.data": {"uri": "sklearn://iris"}, "spec.fit": {"seed": 9},
    "spec.allreduce": {"algorithm": "ring"}, "spec.storage": {"uri": "pvc://a/b"}, "spec.checkpoint": {"keep": 9}, "spec.evaluate": {"metrics": ["loss"]},
    "spec.compress": [{"prune": {}}], "spec.runPolicy.queue": "q", "spec.runPolicy.managedBy": "somebody",
}  # fmt: skip
MUTABLE: tuple[tuple[str, Any], ...] = (
    ("spec.workers.replicas", 4), ("spec.workers.minReplicas", 1), ("spec.workers.maxReplicas", 9), ("spec.workers.maxReplicas", None),
    ("spec.serve", None), ("spec.serve.endpoint", "other"), ("spec.serve.rollout", {"steps": [10, 100]}), ("spec.runPolicy.backoffLimit", 9),
    ("spec.runPolicy.restartPolicy", "OnFailure"), ("spec.runPolicy.activeDeadlineSeconds", 9), ("spec.runPolicy.ttlSecondsAfterFinished", 0),
    ("spec.runPolicy.suspend", True), ("spec.runPolicy.cleanPodPolicy", "All"), ("spec.runPolicy.priorityClassName", "high"),
    ("spec.runPolicy.stallSeconds", 9), ("spec.runPolicy.gangTimeoutSeconds", 9),
)  # fmt: skip


def nested(path: str, value: Any) -> dict[str, Any]:
    """A merge patch that sets one path."""
    for step in reversed(path.split(".")):
        value = {step: value}
    return dict(value)


def has(manifest: Any, path: str) -> bool:
    """Whether that object stands in it, by itself or by default."""
    for step in path.split("."):
        manifest = manifest.get(step, {})
    return bool(manifest) or path in ("spec.allreduce", "spec.checkpoint", "spec.evaluate")


def test_what_is_immutable_is_refused_with_the_remedy_and_what_is_mutable_is_taken(
    door: ApiDoor, kubectl: Kubectl
) -> None:
    assert set(IMMUTABLE) == set(immutable_paths())
    full = MANAGED
    for path in (
        "spec.image",
        "spec.workers.resources",
        "spec.workers.template",
        "spec.storage",
        "spec.runPolicy.queue",
    ):
        full = changed(full, path, IMMUTABLE[path])
    for name, job in (("digits", MANAGED), ("full", full)):
        kubectl.create(changed(job, "metadata.name", name))
    for path, value in IMMUTABLE.items():
        refusal = f"{path}: Forbidden: {IMMUTABLE_SAYS}"
        changes = {f"{path}.{each}" for each in value} if has(MANAGED, path) and isinstance(value, dict) else {path}
        told = door.said("PATCH", nested(path, value), name="digits")
        assert all(f"{each}: Forbidden: {IMMUTABLE_SAYS}" in told for each in changes), f"{path}: {told}"
        if path in ("spec.image", "spec.workers.template", "spec.storage", "spec.runPolicy.queue"):
            assert refusal in door.said("PATCH", nested(path, None), name="full"), path
    deep = nested("spec.workers.template.spec.nodeName", "b")
    assert f"spec.workers.template: Forbidden: {IMMUTABLE_SAYS}" in door.said("PATCH", deep, name="full")
    size = "spec.workers.replicas: Forbidden: is immutable: delete the job, or use another name (Kueue admitted a group of that size)"
    assert size in door.said("PATCH", nested("spec.workers.replicas", 4), name="full")
    assert door.said("PATCH", nested("spec.workers.minReplicas", 1), name="full") == ""
    for path, value in MUTABLE:
        assert door.said("PATCH", nested(path, value), name="digits") == "", path
    again = kubectl.apply(changed(MANAGED, "spec.workers.replicas", 4))
    assert "configured" in again


def test_scaling_keeps_its_bounds_and_says_them(kubectl: Kubectl) -> None:
    kubectl.create(MANAGED)
    for replicas, sentence in (
        (9, "spec.workers.maxReplicas: Invalid value: must be at least replicas: raise maxReplicas, or lower replicas"),
        (1, "spec.workers.minReplicas: Invalid value: must be at most replicas: lower minReplicas, or raise replicas"),
        (0, "spec.workers.replicas: Invalid value: 0: must be at least 1"),
    ):
        assert sentence in kubectl.ask("scale", "tj/digits", f"--replicas={replicas}").stderr
    kubectl.scale("tj", "digits", 8)
    assert kubectl.get("tj", "digits")["spec"]["workers"]["replicas"] == 8


def test_kubectl_shows_our_columns_and_explains_fields(kubectl: Kubectl) -> None:
    kubectl.create(MANAGED)
    kubectl.create(ENDPOINT)
    status = {
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "m"}],
        "workers": {"desired": 3, "ready": 2, "live": 3, "summary": "2/3"}, "step": 12, "progress": "63%", "loss": 0.25,
        "endpoint": {"name": "digits"}, "etaSeconds": 9.5, "restarts": {"counted": 1}, "selector": "ringyard.dev/job=digits",
    }  # fmt: skip
    kubectl.patch("tj", "digits", {"status": status}, "--subresource=status")
    table = [line.split() for line in kubectl.run("get", "tj").splitlines()]
    assert table[0] == ["NAME", "STATE", "WORKERS", "STEP", "PROGRESS", "LOSS", "ENDPOINT", "AGE"]
    assert table[1][:7] == ["digits", "Running", "2/3", "12", "63%", "0.25", "digits"]
    assert "ETA" in kubectl.run("get", "tj", "-o", "wide").splitlines()[0]
    columns = kubectl.run("get", "mep").splitlines()[0].split()
    assert columns == ["NAME", "URL", "VERSIONS", "WEIGHTS", "READY", "AGE"]
    assert "Workers that are wanted." in kubectl.run("explain", "tj.spec.workers.replicas")
    both = kubectl.run("get", "ringyard", "-o", "name").split()
    assert both == ["modelendpoint.ringyard.dev/digits", "trainingjob.ringyard.dev/digits"]
    chosen = kubectl.run("get", "tj", "--field-selector=spec.serve.endpoint=digits", "-o", "name")
    assert chosen.split() == ["trainingjob.ringyard.dev/digits"]
