"""TrainingJobs and ModelEndpoints as an API server gives them: metadata that is not ours, and a status of any shape.

Whoever reads from a cluster calls it. An object that older rules let in is read as far as possible, because its owner
must be told in its status what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ringyard_api.about import API_VERSION
from ringyard_api.fields import fields_of
from ringyard_api.loading import with_problems
from ringyard_api.metadata import ObjectMeta
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointSpec
from ringyard_api.problems import Problem
from ringyard_api.statusreading import readable, readable_endpoint
from ringyard_api.trainingjob import TrainingJob, TrainingJobSpec

_METADATA = tuple(field.name for field in fields_of(ObjectMeta) if field.name != "annotations")  # kubectl's are long


def job_of(obj: Mapping[str, Any]) -> tuple[TrainingJob, tuple[Problem, ...]]:
    """The job, and what is wrong with its spec. One that cannot be read at all has a spec of defaults."""
    found, problems = with_problems(_without_strangers(obj, "TrainingJob"))
    job = found if isinstance(found, TrainingJob) else TrainingJob(metadata=_metadata(obj), spec=TrainingJobSpec())
    return replace(job, status=readable(obj.get("status"))), problems


def endpoint_of(obj: Mapping[str, Any]) -> tuple[ModelEndpoint, tuple[Problem, ...]]:
    """The endpoint, and what is wrong with its spec. One that cannot be read at all has a spec of defaults."""
    found, problems = with_problems(_without_strangers(obj, "ModelEndpoint"))
    if not isinstance(found, ModelEndpoint):
        found = ModelEndpoint(metadata=_metadata(obj), spec=ModelEndpointSpec())
    return replace(found, status=readable_endpoint(obj.get("status"))), problems


def _without_strangers(obj: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What is ours to read. Items of a list come without apiVersion and kind."""
    given = obj.get("metadata") or {}
    metadata = {name: given[name] for name in _METADATA if name in given}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": obj.get("spec") or {}}


def _metadata(obj: Mapping[str, Any]) -> ObjectMeta:
    given = obj.get("metadata") or {}
    return ObjectMeta(
        name=str(given.get("name", "")),
        namespace=str(given.get("namespace", "")),
        uid=str(given.get("uid", "")),
        generation=int(given.get("generation", 0)),
    )
