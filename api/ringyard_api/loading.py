"""Manifests as text or plain data into our types, strictly, and back: the door that everything enters by.

`cli` calls it with a user's file, `local` and the trainer with what was stored. It gathers what `yamltext`,
`decoding` and `validation` say of one file, so that a user reads all problems at once. It opens no file
and resolves no default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringyard_api.about import API_VERSION
from ringyard_api.decoding import NOTHING, Decoder, encode, nearest, shown
from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.problems import ManifestError, Problem
from ringyard_api.trainingjob import TrainingJob
from ringyard_api.validation import rule_problems
from ringyard_api.yamltext import parse_yaml

__all__ = [
    "ManifestError",
    "Problem",
    "from_object",
    "load_job",
    "load_manifests",
    "parse_yaml",
    "to_object",
    "with_problems",
]

_KINDS: dict[str, type[TrainingJob | ModelEndpoint]] = {
    "TrainingJob": TrainingJob,
    "ModelEndpoint": ModelEndpoint,
}
_EMPTY = "is empty: a manifest holds apiVersion, kind, metadata and spec"


def load_manifests(text: str, source: str = "<stdin>") -> list[TrainingJob | ModelEndpoint]:
    """All documents of a text. Raises ManifestError with every problem of all of them."""
    return _load(parse_yaml(text, source), source)


def load_job(text: str, source: str = "<stdin>") -> TrainingJob:
    """The one TrainingJob of a text. Raises ManifestError."""
    documents = parse_yaml(text, source)
    if len(documents) > 1:
        message = f"holds {len(documents)} documents where one TrainingJob is wanted: split the file"
        raise ManifestError((Problem(path="", message=message),), source)
    (manifest,) = _load(documents, source)
    if not isinstance(manifest, TrainingJob):
        message = f"must be TrainingJob, got '{manifest.kind}'"
        raise ManifestError((Problem(path="kind", message=message),), source)
    return manifest


def from_object(obj: Mapping[str, Any], source: str = "<stdin>") -> TrainingJob | ModelEndpoint:
    """The same from plain JSON data. Raises ManifestError."""
    return _load([obj], source)[0]


def with_problems(obj: Mapping[str, Any]) -> tuple[TrainingJob | ModelEndpoint | None, tuple[Problem, ...]]:
    """Plain JSON data as far as it can be read, with everything that is wrong with it; nothing is raised."""
    manifest, problems = _one(obj)
    return manifest, tuple(problems)


def to_object(value: Any) -> dict[str, Any]:
    """Any of our dataclasses as plain JSON data with YAML's names; None and what is empty is left out."""
    plain: dict[str, Any] = encode(value)
    return plain


def _load(documents: Sequence[Any], source: str) -> list[TrainingJob | ModelEndpoint]:
    if not documents:
        raise ManifestError((Problem(path="", message=_EMPTY),), source)
    made: list[TrainingJob | ModelEndpoint] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        manifest, wrong = _one(document)
        prefix = f"document {number}: " if len(documents) > 1 else ""
        problems += [
            Problem(
                path=f"{prefix}{each.path}" if each.path else "",
                message=each.message if each.path else prefix + each.message,
            )
            for each in wrong
        ]
        if manifest is not None and any(_same(manifest, other) for other in made):
            message = f"{manifest.kind} {manifest.metadata.name} stands there twice: keep one of them"
            problems.append(Problem(path=f"{prefix}metadata.name", message=message))
        elif manifest is not None:
            made.append(manifest)
    if problems:
        raise ManifestError(problems, source)
    return made


def _same(one: TrainingJob | ModelEndpoint, other: TrainingJob | ModelEndpoint) -> bool:
    return (one.kind, one.metadata.namespace, one.metadata.name) == (
        other.kind,
        other.metadata.namespace,
        other.metadata.name,
    )


def _one(document: Any) -> tuple[TrainingJob | ModelEndpoint | None, Sequence[Problem]]:
    if not isinstance(document, Mapping):
        return None, [
            Problem(
                path="", message=f"must be a mapping with apiVersion, kind, metadata and spec, got {shown(document)}"
            )
        ]
    if not document:
        return None, [Problem(path="", message=_EMPTY)]
    kind = document.get("kind")
    if kind not in _KINDS or document.get("apiVersion") != API_VERSION:
        wrong = _foreign(document)
        if kind not in _KINDS:
            return None, wrong
        document = {**document, "apiVersion": API_VERSION}
    else:
        wrong = []
    decoder = Decoder()
    manifest = decoder.instance(_KINDS[kind], document, "")
    problems = wrong + decoder.problems
    if manifest is NOTHING:
        return None, problems
    return manifest, [*problems, *rule_problems(manifest, decoder.unsound)]


def _foreign(document: Mapping[str, Any]) -> list[Problem]:
    problems = []
    version, kind = document.get("apiVersion"), document.get("kind")
    if version != API_VERSION:
        problems.append(Problem(path="apiVersion", message=_wanted(version, API_VERSION)))
    if kind is None:
        problems.append(Problem(path="kind", message="is missing: write TrainingJob or ModelEndpoint"))
    elif not isinstance(kind, str) or kind not in _KINDS:
        meant = nearest(kind, _KINDS) if isinstance(kind, str) else None
        hint = f", did you mean {meant}?" if meant else ""
        problems.append(Problem(path="kind", message=f"must be one of {', '.join(_KINDS)}, got {shown(kind)}{hint}"))
    return problems


def _wanted(got: Any, wanted: str) -> str:
    return f"is missing: write {wanted}" if got is None else f"must be {wanted}, got {shown(got)}"
