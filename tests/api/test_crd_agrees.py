"""The CRD and Python say the same of a manifest, because both are made from the same types and the same table of rules."""

# A row of a table is one line.
# ruff: noqa: E501
from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ringyard_api import crd
from ringyard_api.decoding import encode
from ringyard_api.defaults import resolve
from ringyard_api.jobstatus import (
    Condition,
    EndpointRef,
    JobStatus,
    LedgerEntry,
    ModelStatus,
    RestartsStatus,
    WorkersStatus,
    rfc3339,
)
from ringyard_api.loading import from_object, to_object
from ringyard_api.reasons import Reason
from ringyard_api.rules import MODELENDPOINT_RULES, TRAININGJOB_RULES
from ringyard_api.validation import immutable_paths
from test_loading_manifests import GOOD, SCRIPT, changed, problems

ROOT = Path(__file__).resolve().parents[2]


def spec_schema(definition: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as strict field validation reads it: what is not named is refused."""
    found: dict[str, Any] = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if "properties" in found:
        found["properties"] = {name: closed(each) for name, each in found["properties"].items()}
        found["additionalProperties"] = False
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = closed(found["additionalProperties"])
    if "items" in found:
        found["items"] = closed(found["items"])
    return found


# Draft 4 is the draft that OpenAPI v3.0 follows: exclusiveMinimum is a boolean there.
JOB = jsonschema.Draft4Validator(closed(spec_schema(crd.trainingjobs())["properties"]["spec"]))
ENDPOINT: dict[str, Any] = {
    "apiVersion": "ringyard.dev/v1alpha1",
    "kind": "ModelEndpoint",
    "metadata": {"name": "digits"},
    "spec": {
        "versions": [
            {"version": "1", "uri": "file:///a", "digest": "sha256:" + "0" * 64, "job": "digits", "weight": 100}
        ],
        "lastVersion": 1,
    },
}

# What the schema's own keywords take and refuse.
FIELDS = [
    ("workers.replicas", "3"), ("workers.replcas", 3),
    ("workers.template", {"spec": {"anything": [1]}}), ("workers.resources", {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}}),
    ("workers.resources", {"limits": {"cpu": 0.5}}), ("workers.resources", {"limits": {"cpu": "1" * 65}}), ("workers.resources", {"limits": {f"r{n}": 1 for n in range(33)}}), ("model.args", {"anything": {"at": "all"}}), ("model.args", []),
    ("data.features", ["a", 1]), ("data.split.stratify", "yes"),
    ("data.preprocess", [{"impute": {"strategy": "mean"}}]), ("data.preprocess", [{"impute": {"strategy": "mode"}}]), ("data.preprocess", [{"oneHot": {}}]),
    ("data.augment", [{"rotate": 15}]), ("fit.optimizer.lr", 1), ("fit.optimizer.name", "lion"),
    ("fit.optimizer.betas", [0.8, 0.99]), ("fit.precision", "bf16"), ("fit.loss", "huber"),
    ("fit.regularization", {"clipGradNorm": 1.5}), ("evaluate.gate", [{"atLeast": 1}]),
    ("allreduce", {"algorithm": "ring"}), ("storage", {}), ("serve", {"endpoint": "d" * 64}), ("runPolicy", {"cleanPodPolicy": "Some"}),
    ("runPolicy", {"cleanPodPolicy": "None", "queue": "q"}), ("image", "a" * 1025),
]  # fmt: skip
# What its rules in CEL refuse in our words; tests/cluster asks an API server.
BOUNDS = [
    ("workers.replicas", 0), ("workers.replicas", 10_001), ("workers.minReplicas", 0), ("model.factory", "mlp"), ("data.uri", ""), ("data.split.test", 1), ("data.split.test", -0.1),
    ("data.preprocess", [{"standardize": {}, "oneHot": {"columns": ["a"]}}]), ("data.preprocess", [{}]), ("data.preprocess", [{"oneHot": {"columns": []}}]),
    ("fit.epochs", 0), ("fit.optimizer.lr", 0), ("fit.optimizer.betas", [0.9]), ("fit.optimizer.betas", [0.9, 1]), ("fit.seed", -1), ("fit.regularization", {"clipGradNorm": 0}),
    ("allreduce", {"bucketMiB": 0}), ("checkpoint", {"keep": 0}), ("serve", {"endpoint": "Digits"}), ("serve", {"endpoint": "d", "port": 65_536}), ("runPolicy", {"stallSeconds": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), FIELDS, ids=[f"{path}={str(value)[:40]}" for path, value in FIELDS])
def test_schema_and_python_accept_and_refuse_the_same_fields(path: str, value: Any) -> None:
    manifest = changed(GOOD, f"spec.{path}", value)
    assert JOB.is_valid(manifest["spec"]) == (problems(manifest) == [])


@pytest.mark.parametrize(("path", "value"), BOUNDS, ids=[f"{path}={str(value)[:40]}" for path, value in BOUNDS])
def test_a_bound_is_a_rule_in_the_schema_that_says_pythons_sentence(path: str, value: Any) -> None:
    said = problems(changed(GOOD, f"spec.{path}", value))
    assert said
    blamed = said[0].split(": ")[0]
    at = spec_schema(crd.trainingjobs())
    for step in blamed.replace("[", ".[").split("."):
        at = at["items"] if step.startswith("[") else at["properties"][step]
    assert any(said[0].startswith(f"{blamed}: {rule['message']}") for rule in at["x-kubernetes-validations"])


def test_what_python_resolves_the_schema_accepts() -> None:
    for manifest in (GOOD, SCRIPT):
        job = from_object(manifest)
        JOB.validate(to_object(resolve(job))["spec"])  # type: ignore[arg-type]


def test_a_status_as_we_write_it_is_one_that_the_api_server_takes() -> None:
    said = Condition(
        type="Succeeded", status="Unknown", reason=Reason.RUNNING, message="m" * 9999, observed_generation=2
    )
    ended = LedgerEntry(uid="u", index=0, attempt=1, process_attempt=-1, exit_code=137, counted=True, at=rfc3339(0))
    status = JobStatus(
        observed_generation=2, conditions=(said,), restarts=RestartsStatus(counted=1, ledger=(ended,)), attempts={"0": 1},
        workers=WorkersStatus(desired=3, ready=2, live=3, summary="2/3"), term=30_000_000, step=7, total_steps=9, eta_seconds=0.5,
        loss=float("nan"), best_metric=-1.0, model=ModelStatus(uri="pvc://a/b", metrics={"r2": -3.5}), endpoint=EndpointRef(name="d"),
    )  # fmt: skip
    jsonschema.Draft4Validator(closed(spec_schema(crd.trainingjobs())["properties"]["status"])).validate(encode(status))


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for each in schema.get("properties", {}).values():
        yield from nodes(each)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name])


@pytest.mark.parametrize("definition", [crd.trainingjobs(), crd.modelendpoints()], ids=["TrainingJob", "ModelEndpoint"])
def test_every_list_and_text_of_a_spec_is_bounded_so_that_rules_have_a_cost(definition: dict[str, Any]) -> None:
    for node in nodes(spec_schema(definition)["properties"]["spec"]):
        assert node.get("type") in ("object", "array", "string", "integer", "number", "boolean") or "anyOf" in node
        if node.get("type") == "array":
            assert "maxItems" in node
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node


@pytest.mark.parametrize("definition", [crd.trainingjobs(), crd.modelendpoints()], ids=["TrainingJob", "ModelEndpoint"])
def test_every_default_satisfies_its_own_schema(definition: dict[str, Any]) -> None:
    for node in nodes(spec_schema(definition)["properties"]["spec"]):
        if "default" in node:
            jsonschema.Draft4Validator(closed(node)).validate(node["default"])


@pytest.mark.parametrize("definition", [crd.trainingjobs(), crd.modelendpoints()], ids=["TrainingJob", "ModelEndpoint"])
def test_rules_in_cel_name_only_fields_that_exist(definition: dict[str, Any]) -> None:
    spec = spec_schema(definition)["properties"]["spec"]
    for node in nodes(spec):
        for rule in node.get("x-kubernetes-validations", ()):
            for way in re.findall(r"\b(?:self|oldSelf)((?:\.[A-Za-z][A-Za-z0-9]*)+)(?![A-Za-z0-9]*\()", rule["rule"]):
                at = node
                for step in way[1:].split("."):
                    assert step in at.get("properties", {}), f"{rule['rule']}: {way}"
                    at = at["properties"][step]


def test_every_rule_of_the_table_and_every_immutable_field_stands_in_the_crd() -> None:
    for definition, rules in ((crd.trainingjobs(), TRAININGJOB_RULES), (crd.modelendpoints(), MODELENDPOINT_RULES)):
        spec = spec_schema(definition)["properties"]["spec"]
        told = [rule for node in nodes(spec) for rule in node.get("x-kubernetes-validations", ())]
        for rule in rules:
            assert any(each["rule"] == rule.cel and each["message"] == rule.says for each in told)
    for path in immutable_paths():
        parent = spec_schema(crd.trainingjobs())["properties"]["spec"]
        *way, last = path.split(".")[1:]
        for step in way:
            parent = parent["properties"][step]
        below = parent["properties"][last]
        rules = [*parent["x-kubernetes-validations"], *below.get("x-kubernetes-validations", ())]
        assert any("oldSelf" in rule["rule"] and rule["message"].startswith("is immutable") for rule in rules), path


def test_scale_has_a_default_and_columns_are_those_of_the_reference() -> None:
    version = crd.trainingjobs()["spec"]["versions"][0]
    workers = spec_schema(crd.trainingjobs())["properties"]["spec"]["properties"]["workers"]
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.workers.replicas"
    assert workers["default"]["replicas"] == workers["properties"]["replicas"]["default"] == 1
    names = [column["name"] for column in version["additionalPrinterColumns"]]
    assert names == ["State", "Workers", "Step", "Progress", "Loss", "Endpoint", "ETA", "Restarts", "Message", "Age"]


ENDPOINTS = [
    ("spec.versions", [], ""),
    ("spec.versions.0.weight", 50, "spec.versions: the weights of the versions must sum to 100"),
    ("spec.lastVersion", 0, "spec.lastVersion: must be at least the highest version"),
    ("spec.versions.0.version", "01", "spec.versions[0].version: must be a version number in quotes"),
    ("spec.versions.0.version", 1, "spec.versions[0].version: must be a text, got 1: write it in quotes"),
    ("spec.versions.0.digest", "md5:0", "spec.versions[0].digest: must be sha256:"),
    ("spec.versions", ENDPOINT["spec"]["versions"] * 2, "spec.versions[1].version: '1' stands there twice"),
    ("spec.rollout", {"steps": [50]}, "spec.rollout.steps: must grow and end with 100"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "sentence"), ENDPOINTS, ids=[row[0] + str(number) for number, row in enumerate(ENDPOINTS)]
)
def test_a_model_endpoint_is_checked_at_the_door_too(path: str, value: Any, sentence: str) -> None:
    said = problems(changed(ENDPOINT, path, value))
    assert (said == []) if not sentence else said[0].startswith(sentence), said


def test_the_committed_files_are_what_the_types_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "hack" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("trainingjobs", "modelendpoints"):
        text = (ROOT / "charts" / "ringyard" / "files" / "crds" / f"{name}.yaml").read_text()
        assert yaml.safe_load(text)["metadata"]["name"] == f"{name}.ringyard.dev"
