"""The two CustomResourceDefinitions as plain data: schema, rules in CEL, printer columns, subresources.

`hack/generate.py` writes them into the chart. Everything in them comes from the types and from `rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ringyard_api import cel
from ringyard_api.about import API_VERSION, NAME
from ringyard_api.fields import fields_of
from ringyard_api.jobstatus import JobStatus
from ringyard_api.modelendpoint import ModelEndpointSpec, ModelEndpointStatus
from ringyard_api.rules import CEL_RULES, MODELENDPOINT_RULES, TRAININGJOB_RULES, Rule
from ringyard_api.schema import object_schema
from ringyard_api.trainingjob import TrainingJobSpec
from ringyard_api.validation import IMMUTABLE_SAYS

_GROUP, _VERSION = API_VERSION.split("/")
_QUEUED_SIZE = {
    "rule": "!has(self.runPolicy.queue) || self.workers.replicas == oldSelf.workers.replicas",
    "message": f"{IMMUTABLE_SAYS} (Kueue admitted a group of that size)",
    "fieldPath": ".workers.replicas",
    "reason": "FieldValueForbidden",
}


def trainingjobs() -> dict[str, Any]:
    """The CRD of TrainingJob."""
    spec = object_schema(TrainingJobSpec, spec=True)
    _put_rules(spec, (*TRAININGJOB_RULES, *CEL_RULES))
    _put_unchanged(spec, TrainingJobSpec)
    _validations(spec).append(_QUEUED_SIZE)
    return _definition(
        names={
            "plural": "trainingjobs",
            "singular": "trainingjob",
            "kind": "TrainingJob",
            "listKind": "TrainingJobList",
            "shortNames": ["tj"],
            "categories": ["ringyard"],
        },
        says="TrainingJob is one training run: a gang of workers, a gate, and a model that is served.",
        spec=spec,
        status=object_schema(JobStatus, spec=False),
        columns=[
            _column("State", "string", '.status.conditions[?(@.type=="Succeeded")].reason'),
            _column("Workers", "string", ".status.workers.summary"),
            _column("Step", "integer", ".status.step"),
            _column("Progress", "string", ".status.progress"),
            _column("Loss", "number", ".status.loss"),
            _column("Endpoint", "string", ".status.endpoint.name"),
            _column("ETA", "number", ".status.etaSeconds", wide=True),
            _column("Restarts", "integer", ".status.restarts.counted", wide=True),
            _column("Message", "string", '.status.conditions[?(@.type=="Succeeded")].message', wide=True),
            _column("Age", "date", ".metadata.creationTimestamp"),
        ],
        scale=(".spec.workers.replicas", ".status.workers.live", ".status.selector"),
        selectable=(".spec.serve.endpoint", ".spec.runPolicy.queue"),
    )


def modelendpoints() -> dict[str, Any]:
    """The CRD of ModelEndpoint."""
    spec = object_schema(ModelEndpointSpec, spec=True)
    _put_rules(spec, MODELENDPOINT_RULES)
    return _definition(
        names={
            "plural": "modelendpoints",
            "singular": "modelendpoint",
            "kind": "ModelEndpoint",
            "listKind": "ModelEndpointList",
            "shortNames": ["mep"],
            "categories": ["ringyard"],
        },
        says="ModelEndpoint is what serves: versions of a model behind one address.",
        spec=spec,
        status=object_schema(ModelEndpointStatus, spec=False),
        columns=[
            _column("URL", "string", ".status.url"),
            _column("Versions", "string", ".status.summary.versions"),
            _column("Weights", "string", ".status.summary.weights"),
            _column("Ready", "string", ".status.summary.ready"),
            _column("State", "string", '.status.conditions[?(@.type=="Available")].reason', wide=True),
            _column("Age", "date", ".metadata.creationTimestamp"),
        ],
        scale=(".spec.replicas", ".status.replicas", ".status.selector"),
    )


def _definition(
    *,
    names: dict[str, Any],
    says: str,
    spec: dict[str, Any],
    status: dict[str, Any],
    columns: Sequence[dict[str, Any]],
    scale: tuple[str, str, str],
    selectable: Sequence[str] = (),
) -> dict[str, Any]:
    root = {
        "description": says,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"description": "What is wanted.", **spec},
            "status": {"description": "What was observed and decided.", **status},
        },
        "x-kubernetes-validations": list(cel.name_rules(NAME)),
    }
    version: dict[str, Any] = {
        "name": _VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "additionalPrinterColumns": list(columns),
        "subresources": {
            "status": {},
            "scale": dict(zip(("specReplicasPath", "statusReplicasPath", "labelSelectorPath"), scale, strict=True)),
        },
    }
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{_GROUP}"},
        "spec": {"group": _GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _column(name: str, kind: str, path: str, *, wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return {**column, "priority": 1} if wide else column


def _put_rules(spec: dict[str, Any], rules: Sequence[Rule]) -> None:
    for rule in rules:
        owner = spec
        for step in rule.owner.split(".")[1:]:
            owner = owner["properties"][step.removesuffix("[]")]
            owner = owner["items"] if step.endswith("[]") else owner
        blamed = {"fieldPath": f".{rule.at}"} if rule.at else {}
        _validations(owner).append({"rule": rule.cel, "message": rule.says, **blamed})


def _validations(schema: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = schema.setdefault("x-kubernetes-validations", [])
    return found


def _put_unchanged(schema: dict[str, Any], kind: type[Any]) -> None:
    """Transition rules that name the deepest field that changed. They stand on its parent: those on the field itself
    are skipped where it appears or goes.
    """
    for field in fields_of(kind):
        if field.about.mutable:
            continue
        here, old = f"self.{field.name}", f"oldSelf.{field.name}"
        there = f"has({here}) == has({old})"
        nested = field.type if dataclasses.is_dataclass(field.type) and isinstance(field.type, type) else None
        if nested is None:
            rule = f"{there} && (!has({here}) || {here} == {old})"
            _validations(schema).append(_immutable(rule, field.name))
            continue
        if "default" not in schema["properties"][field.name]:
            _validations(schema).append(_immutable(there, field.name))
        _put_unchanged(schema["properties"][field.name], nested)


def _immutable(rule: str, name: str) -> dict[str, str]:
    return {"rule": rule, "message": IMMUTABLE_SAYS, "fieldPath": f".{name}", "reason": "FieldValueForbidden"}
