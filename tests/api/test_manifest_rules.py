"""Rules between fields: what does not go together is refused, what may not change is named, nothing is silently ignored."""

# A row of a table is one line.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import pytest
from ringyard_api import validation
from ringyard_api.loading import from_object
from ringyard_api.trainingjob import TrainingJob
from test_loading_manifests import GOOD, SCRIPT, changed, problems

PREPROCESS = "spec.data.preprocess"
RULES = [
    (GOOD, "spec.command", ["python"], "spec: give exactly one of model"),
    (GOOD, "spec.model", None, "spec: give exactly one of model"),
    (GOOD, "spec.data", None, "spec.data: must be given with model"),
    (GOOD, "spec.fit", None, "spec.fit: must be given with model"),
    (SCRIPT, "spec.fit", {"epochs": 1}, "spec: data and fit have no effect with command"),
    (SCRIPT, "spec.evaluate", {"metrics": ["loss"]}, "spec.evaluate: has no effect with command"),
    (GOOD, "spec.data.split", {}, "spec.evaluate.gate: a gate needs samples that were not trained on: set data.split.test"),
    (GOOD, "spec.evaluate.gate", [{"metric": "mse", "atMost": 1}], "spec.evaluate.gate: a metric of the gate does not suit"),
    (GOOD, "spec.evaluate.metrics", ["r2"], "spec.evaluate.metrics: a metric does not suit"),
    (GOOD, "spec.evaluate.gate", [{"metric": "loss"}], "spec.evaluate.gate[0]: give exactly one of atLeast and atMost"),
    (GOOD, "spec.evaluate.gate", [{"metric": "loss", "atLeast": 0, "atMost": 1}], "spec.evaluate.gate[0]: give exactly one"),
    (GOOD, "spec.fit.earlyStopping", {"metric": "val_mse"}, "spec.fit.earlyStopping.metric: the metric does not suit"),
    (changed(GOOD, "spec.data.split.validation", 0), "spec.fit.earlyStopping", {"patience": 2}, "spec.fit.earlyStopping: early stopping watches"),
    (changed(changed(GOOD, "spec.evaluate", {}), "spec.fit.loss", "mse"), "spec.data.split.stratify", True, "spec.data.split.stratify: needs classes"),
    (GOOD, "spec.workers.minReplicas", 4, "spec.workers.minReplicas: must be at most replicas"),
    (GOOD, "spec.workers.maxReplicas", 2, "spec.workers.maxReplicas: must be at least replicas"),
    (GOOD, "spec.code", {"path": ".", "configMap": "c"}, "spec.code: give exactly one of configMap"),
    (GOOD, "spec.code", {}, "spec.code: give exactly one of configMap"),
    (GOOD, "spec.data.uri", "table.csv", "spec.data.label: is missing: name the column to predict"),
    (changed(GOOD, "spec.data.label", "y"), "spec.data.features", ["x", "y"], "spec.data.features: must not hold the label"),
    (GOOD, "spec.data.split.validation", 0.9, "spec.data.split: validation and test must leave samples"),
    (GOOD, "spec.fit.steps", 9, "spec.fit: give exactly one of epochs and steps"),
    (GOOD, "spec.fit.epochs", None, "spec.fit: give exactly one of epochs and steps"),
    (GOOD, "spec.fit.optimizer.momentum", 0.9, "spec.fit.optimizer.momentum: has an effect with sgd only"),
    (GOOD, "spec.fit.optimizer", {"name": "sgd", "betas": [0.8, 0.9]}, "spec.fit.optimizer.betas: has no effect with sgd"),
    (GOOD, "spec.fit.schedule", {"name": "step"}, "spec.fit.schedule.stepSize: must be given with schedule step"),
    (GOOD, "spec.fit.schedule", {"name": "cosine", "stepSize": 3}, "spec.fit.schedule.stepSize: must be given with schedule step"),
    (GOOD, "spec.fit.schedule", {"name": "cosine", "gamma": 0.5}, "spec.fit.schedule.gamma: has an effect with schedule step only"),
    (GOOD, "spec.fit.schedule", {"minLr": 0.5}, "spec.fit.schedule.minLr: has an effect with schedule cosine only"),
    (GOOD, "spec.serve.rollout", {"steps": [50, 10]}, "spec.serve.rollout.steps: must grow and end with 100"),
]  # fmt: skip
PYTHON_ONLY = [
    (GOOD, PREPROCESS, [{"impute": {"value": 3}}], f"{PREPROCESS}[0].impute.value: has an effect with strategy constant"),
    (changed(GOOD, "spec.data.label", "y"), PREPROCESS, [{"oneHot": {"columns": ["y"]}}], f"{PREPROCESS}[0].oneHot.columns: 'y' is the label"),
    (changed(GOOD, "spec.data.features", ["a"]), PREPROCESS, [{"oneHot": {"columns": ["b"]}}], f"{PREPROCESS}[0].oneHot.columns: 'b' is not one"),
    (GOOD, "spec.workers.template", {"env": [{"name": "RANK", "value": "1"}]}, "spec.workers.template.env[0].name: RANK is set by Ringyard"),
    (GOOD, "spec.workers.template", {"spec": {"containers": [{"env": [{"name": "PET_X"}]}]}}, "spec.workers.template.spec.containers[0].env[0].name: PET_X"),
    (GOOD, "spec.workers.template", {"env": {"A": "1"}}, "spec.workers.template.env: must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "path", "value", "sentence"), [*RULES, *PYTHON_ONLY], ids=[row[3] for row in [*RULES, *PYTHON_ONLY]]
)
def test_what_does_not_go_together_is_refused(base: dict[str, Any], path: str, value: Any, sentence: str) -> None:
    said = problems(changed(base, path, value))
    assert len(said) == 1 and said[0].startswith(sentence), said


def test_every_rule_of_a_training_job_is_shown_to_refuse_something() -> None:
    from ringyard_api.rules import TRAININGJOB_RULES

    for rule in TRAININGJOB_RULES:
        assert any(rule.says.startswith(sentence.split(": ", 1)[1]) for *_, sentence in RULES), rule.says


def job(obj: dict[str, Any]) -> TrainingJob:
    found = from_object(obj)
    assert isinstance(found, TrainingJob)
    return found


NOT_YET = [
    ("spec.fit.precision", "bf16", "spec.fit.precision: bf16 is not supported yet (fp32 and fp64 are)"),
    ("spec.fit.regularization", {"l1": 0.1}, "spec.fit.regularization.l1: is not supported yet"),
    ("spec.workers.processes", 2, "spec.workers.processes: more than 1 is not supported yet"),
    ("spec.allreduce.algorithm", "star", "spec.allreduce.algorithm: star is not supported yet"),
    ("spec.allreduce.compression", "int8", "spec.allreduce.compression: int8 is not supported yet"),
    ("spec.data.augment", [{"rotate": 15}], "spec.data.augment: is not supported yet"),
    ("spec.compress", [{"prune": {}}], "spec.compress: is not supported yet"),
    ("spec.storage", {"uri": "s3://bucket/runs"}, "spec.storage.uri: s3:// is not supported yet"),
    ("spec.code", {"configMap": "c"}, "spec.code.configMap: needs a cluster"),
    ("spec.serve.batching", {}, "spec.serve.batching: is not supported yet"),
    ("spec.serve.rollout", {"steps": [10, 100]}, "spec.serve.rollout: is not supported yet"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), NOT_YET, ids=[row[0] for row in NOT_YET])
def test_what_comes_later_is_refused_by_name(path: str, value: Any, sentence: str) -> None:
    said = [str(problem) for problem in validation.unsupported(job(changed(GOOD, path, value)))]
    assert len(said) == 1 and said[0].startswith(sentence)
    assert validation.unsupported(job(GOOD)) == ()


def test_data_from_elsewhere_is_refused_by_scheme() -> None:
    elsewhere = changed(changed(GOOD, "spec.data.uri", "s3://bucket/train.parquet"), "spec.data.label", "y")
    assert [each.path for each in validation.unsupported(job(elsewhere))] == ["spec.data.uri"]


def test_fields_that_only_a_cluster_honours_are_named() -> None:
    assert validation.cluster_only(job(GOOD)) == ()
    obj = changed(changed(changed(GOOD, "spec.image", "a:1"), "spec.runPolicy.queue", "q"), "spec.serve.replicas", 2)
    obj = changed(obj, "spec.workers.template", {"spec": {"nodeSelector": {"gpu": "yes"}}})
    obj = changed(obj, "spec.runPolicy.ttlSecondsAfterFinished", 9)  # is honoured: local mode deletes it too
    assert validation.cluster_only(job(obj)) == (
        "spec.image", "spec.workers.template", "spec.serve.replicas", "spec.runPolicy.queue")  # fmt: skip


def test_the_environment_of_a_template_is_honoured_so_it_is_not_named() -> None:
    for template in (
        {"env": [{"name": "A", "value": "1"}]},
        {"spec": {"containers": [{"env": [{"name": "A", "value": "1"}]}]}},
    ):
        assert validation.cluster_only(job(changed(GOOD, "spec.workers.template", template))) == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [("spec.workers.replicas", 4), ("spec.workers.minReplicas", 1), ("spec.workers.maxReplicas", None), ("spec.serve", None),
     ("spec.serve.endpoint", "other"), ("spec.runPolicy.backoffLimit", 9), ("spec.runPolicy.suspend", True)],
)  # fmt: skip
def test_mutable_fields_may_change(path: str, value: Any) -> None:
    assert validation.immutable_changes(job(GOOD), job(changed(GOOD, path, value))) == ()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [("spec.fit.epochs", 3, "spec.fit.epochs"), ("spec.model.args.classes", 9, "spec.model.args.classes"), ("spec.code", {"path": "."}, "spec.code"),
     ("spec.evaluate.metrics", ["loss"], "spec.evaluate.metrics"), ("spec.runPolicy.queue", "q", "spec.runPolicy.queue"),
     ("spec.runPolicy.managedBy", "x", "spec.runPolicy.managedBy"), ("spec.workers.template", {"env": []}, "spec.workers.template"),
     ("spec.image", "a:1", "spec.image")],
)  # fmt: skip
def test_immutable_fields_may_not_and_the_remedy_is_said(path: str, value: Any, named: str) -> None:
    for old, new in ((GOOD, changed(GOOD, path, value)), (changed(GOOD, path, value), GOOD)):
        (problem,) = validation.immutable_changes(job(old), job(new))
        assert str(problem) == f"{named}: is immutable: delete the job, or use another name"
