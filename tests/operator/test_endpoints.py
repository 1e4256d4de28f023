"""Versions of an endpoint: given once, never reused, the newest gets the requests and the one before stays loaded."""

from __future__ import annotations

from dataclasses import replace

from ringyard_api.modelendpoint import CREATED_BY, TRAININGJOB, ModelEndpoint, ModelEndpointSpec
from ringyard_api.trainingjob import ModelSpec, ObjectMeta, ServeSpec, TrainingJob, TrainingJobSpec
from ringyard_operator.endpoints import publish


def job(name: str = "digits", port: int = 0) -> TrainingJob:
    spec = TrainingJobSpec(model=ModelSpec(factory="a:b"), serve=ServeSpec(endpoint="digits", port=port))
    return TrainingJob(metadata=ObjectMeta(name=name), spec=spec)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def add(present: ModelEndpoint | None, letter: str, port: int = 0) -> ModelEndpoint:
    return publish(present, job(port=port), name="digits", uri=f"file:///{letter}", digest=digest(letter))


def test_the_first_publisher_makes_the_endpoint_with_its_serve_block() -> None:
    made = add(None, "a", port=9000)
    assert made.metadata.labels[CREATED_BY] == TRAININGJOB and made.spec.port == 9000
    assert [(v.version, v.weight, v.job) for v in made.spec.versions] == [("1", 100, "digits")]


def test_the_newest_version_gets_all_requests_and_the_one_before_stays() -> None:
    made = add(add(add(None, "a"), "b"), "c")
    assert [(v.version, v.weight) for v in made.spec.versions] == [("2", 0), ("3", 100)]


def test_the_same_digest_keeps_its_number() -> None:
    once = add(None, "a")
    assert add(once, "a") == once


def test_a_number_is_never_given_twice_even_if_the_newest_version_was_removed() -> None:
    made = add(add(None, "a"), "b")
    cut = replace(made, spec=replace(made.spec, versions=made.spec.versions[:1]))
    assert add(cut, "c").spec.versions[-1].version == "3"


def test_an_endpoint_that_a_person_made_gets_the_version_but_keeps_its_settings() -> None:
    theirs = ModelEndpoint(metadata=ObjectMeta(name="digits"), spec=ModelEndpointSpec(port=7000))
    made = add(theirs, "a", port=9000)
    assert made.spec.port == 7000 and len(made.spec.versions) == 1
