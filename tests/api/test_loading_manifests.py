"""A manifest that is wrong is refused with one sentence for each thing that is wrong, all at once, with its place."""

# A row of a table is one line.
# ruff: noqa: E501
from __future__ import annotations

import copy
from typing import Any

import pytest
from ringyard_api.defaults import resolve
from ringyard_api.loading import ManifestError, from_object, load_job, load_manifests, parse_yaml, to_object
from ringyard_api.trainingjob import TrainingJob

GOOD: dict[str, Any] = {
    "apiVersion": "ringyard.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "digits"},
    "spec": {
        "workers": {"replicas": 3, "minReplicas": 2, "maxReplicas": 8},
        "model": {"factory": "ringyard_trainer.models:mlp", "args": {"hidden": [128], "classes": 10}},
        "data": {
            "uri": "sklearn://digits",
            "split": {"validation": 0.1, "test": 0.2, "seed": 7, "stratify": True},
            "preprocess": [{"standardize": {}}],
        },
        "fit": {"epochs": 2, "batchSize": 64, "optimizer": {"name": "adamw", "lr": 0.003}},
        "evaluate": {"metrics": ["accuracy"], "gate": [{"metric": "accuracy", "atLeast": 0.95}]},
        "serve": {"endpoint": "digits"},
    },
}
SCRIPT: dict[str, Any] = {
    **GOOD,
    "spec": {"command": ["python", "train.py"], "code": {"path": "."}},
}


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value set, or taken away where it is None."""
    found = copy.deepcopy(base)
    *way, last = path.split(".")
    at: Any = found
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    if value is None:
        at.pop(last, None)
    else:
        at[last] = value
    return found


def problems(obj: dict[str, Any]) -> list[str]:
    """What is said of a manifest; [] where nothing is wrong."""
    try:
        from_object(obj, "f.yaml")
    except ManifestError as error:
        return [str(problem) for problem in error.problems]
    return []


ONE_FIELD = [
    ("spec.workers.replicas", 0, "spec.workers.replicas: must be at least 1, got 0"),
    ("spec.workers.replicas", "many", "spec.workers.replicas: must be an integer, got 'many'"),
    ("spec.workers.replicas", True, "spec.workers.replicas: must be an integer, got true"),
    ("spec.workers.replicas", 2.0, "spec.workers.replicas: must be an integer, got 2.0"),
    ("spec.workers.replcas", 3, "spec.workers.replcas: unknown field, did you mean replicas?"),
    ("spec.workers", [], "spec.workers: must be a mapping, got a list"),
    ("spec.fit.optimizer.lr", -1, "spec.fit.optimizer.lr: must be greater than 0, got -1"),
    ("spec.fit.optimizer.lr", "0,1", "spec.fit.optimizer.lr: must be a finite number, got '0,1'"),
    ("spec.fit.optimizer.lr", float("nan"), "spec.fit.optimizer.lr: must be a finite number, got nan"),
    ("spec.fit.optimizer.name", "sdg", "spec.fit.optimizer.name: must be one of sgd, adam, adamw, got 'sdg', did you mean sgd?"),
    ("spec.fit.batchSize", 10**30, f"spec.fit.batchSize: must fit 64 bits, got {10**30}"),
    ("spec.data.split.stratify", "yes", "spec.data.split.stratify: must be true or false, got 'yes'"),
    ("spec.data.split.test", 1, "spec.data.split.test: must be less than 1, got 1"),
    ("spec.data.features", "a", "spec.data.features: must be a list, got 'a'"),
    ("spec.data.features", ["a", "a"], "spec.data.features[1]: 'a' stands there twice: keep one of them"),
    ("spec.data.label", 3, "spec.data.label: must be a text, got 3: write it in quotes"),
    ("spec.data.preprocess", [{"normalise": {}}], "spec.data.preprocess[0].normalise: unknown step: there are standardize, oneHot, impute"),
    ("spec.data.preprocess", [{"oneHot": {}}], "spec.data.preprocess[0].oneHot.columns: is missing: columns"),
    ("spec.data.preprocess", ["standardize"], "spec.data.preprocess[0]: must be a mapping with one key"),
    ("spec.evaluate.gate", [{"metric": "acuracy", "atLeast": 1}], "spec.evaluate.gate[0].metric: must be one of loss, accuracy"),
    ("spec.model.factory", "mlp", "spec.model.factory: must be package.module:name, got 'mlp'"),
    ("spec.serve", {}, "spec.serve.endpoint: is missing"),
    ("spec.workers.resources", {"limits": {"cpu": 0.5}}, "spec.workers.resources.limits.cpu: must be a text or an integer, got 0.5"),
    ("metadata.name", "Digits", "metadata.name: must be a lower-case name"),
    ("metadata.name", "d" * 64, "metadata.name: must have at most 63 characters, got 64"),
    ("metadata", None, "metadata: is missing"),
    ("kind", "TrainJob", "kind: must be one of TrainingJob, ModelEndpoint, got 'TrainJob', did you mean TrainingJob?"),
    ("kind", None, "kind: is missing: write TrainingJob or ModelEndpoint"),
    ("apiVersion", "v1", "apiVersion: must be ringyard.dev/v1alpha1, got 'v1'"),
    ("specs", {}, "specs: unknown field, did you mean spec?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "sentence"), ONE_FIELD, ids=[f"{row[0]}={str(row[1])[:30]}" for row in ONE_FIELD]
)
def test_a_wrong_field_is_told_with_its_path_and_remedy(path: str, value: Any, sentence: str) -> None:
    said = problems(changed(GOOD, path, value))
    assert said and said[0].startswith(sentence), said


def test_only_what_is_wrong_is_told() -> None:
    for path, value, _ in ONE_FIELD:
        if path != "specs" and path.startswith("spec"):
            assert len(problems(changed(GOOD, path, value))) == 1, path


def test_all_problems_of_a_file_are_told_at_once() -> None:
    bad = changed(changed(changed(GOOD, "spec.workers.replicas", 0), "spec.fit.epoch", 1), "spec.fit.optimizer.lr", -1)
    bad = changed(bad, "spec.command", ["python", "train.py"])
    said = "\n".join(problems(bad))
    for place in (
        "spec.workers.replicas",
        "spec.fit.epoch",
        "spec.fit.optimizer.lr",
        "spec: give exactly one of model",
    ):
        assert place in said


def test_a_misspelt_field_does_not_also_count_as_missing() -> None:
    bad = changed(changed(GOOD, "spec.fit.epochs", None), "spec.fit.epoch", 3)
    assert problems(bad) == ["spec.fit.epoch: unknown field, did you mean epochs?"]


BROKEN = [
    ("", "f.yaml: is empty"),
    ("# nothing\n---\n", "f.yaml: is empty"),
    ("{}", "f.yaml: is empty"),
    ("- 1\n", "f.yaml: must be a mapping"),
    ("just words", "f.yaml: must be a mapping"),
    ("kind: [TrainingJob\nspec: }\n", "f.yaml: line 2, column"),
    ("a:\n\t- b\n", "f.yaml: line 2, column 1"),
    ("kind: x\nkind: y\n", "f.yaml: line 2, column 1: the key 'kind' stands twice"),
    ("kind: *nobody\n", "f.yaml: line 1, column 7"),
    ("kind: !!python/name:os.system x\n", "f.yaml: line 1, column 7"),
    ("1: x\n", "f.yaml: line 1, column 1: a key must be a text"),
    ("a: &a [*a]\n", "f.yaml: "),
    ("a: \x00", "f.yaml: not YAML"),
    ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)), "holds more than"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_no_manifest_is_told_with_line_and_column(text: str, sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifests(text, "f.yaml")
    assert sentence in str(caught.value)


def test_two_documents_where_one_is_wanted_are_refused_and_two_manifests_are_welcome() -> None:
    text = f"{to_yaml(GOOD)}---\n{to_yaml(changed(GOOD, 'metadata.name', 'other'))}"
    with pytest.raises(ManifestError, match="holds 2 documents where one TrainingJob is wanted"):
        load_job(text)
    assert [each.metadata.name for each in load_manifests(text)] == ["digits", "other"]


def test_the_same_object_twice_in_a_file_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"document 2: metadata.name: TrainingJob digits stands there twice"):
        load_manifests(f"{to_yaml(GOOD)}---\n{to_yaml(GOOD)}")


def test_problems_of_several_documents_say_which() -> None:
    text = f"{to_yaml(GOOD)}---\n{to_yaml(changed(GOOD, 'spec.workers.replicas', 0))}"
    with pytest.raises(ManifestError, match=r"document 2: spec\.workers\.replicas"):
        load_manifests(text)


def to_yaml(obj: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(obj)
    return text


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("3", 3), ("yes", "yes"), ("no", "no"), ("on", "on"), ("12:30", "12:30"),
     ("2026-11-21", "2026-11-21"), ("0123", "0123"), ("1_000", "1_000"), ("true", True), ("~", None), ("null", None),
     ("None", "None"), ("0x10", 16), ("-7", -7), ("1.", 1.0), ("'3'", "3")],
)  # fmt: skip
def test_bare_words_are_what_they_look_like(text: str, value: Any) -> None:
    (document,) = parse_yaml(f"a: {text}")
    assert document == {"a": value} and type(document["a"]) is type(value)


def test_a_learning_rate_written_as_1e_3_is_a_number() -> None:
    job = load_job(to_yaml(GOOD).replace("0.003", "1e-3"))
    assert job.spec.fit is not None and job.spec.fit.optimizer.lr == 0.001


def test_resolving_makes_every_default_visible_and_survives_the_way_to_disk_and_back() -> None:
    job = from_object(GOOD)
    assert isinstance(job, TrainingJob)
    resolved = resolve(job)
    plain = to_object(resolved)
    assert plain["spec"]["runPolicy"]["backoffLimit"] == 3 and plain["spec"]["allreduce"]["bucketMiB"] == 8
    assert plain["spec"]["data"]["preprocess"] == [{"standardize": {}}]
    assert from_object(plain) == resolved == resolve(resolved)


def test_the_metrics_of_the_gate_are_always_computed() -> None:
    job = from_object(changed(GOOD, "spec.evaluate.metrics", ["loss"]))
    assert isinstance(job, TrainingJob) and resolve(job).spec.evaluate.metrics == ("loss", "accuracy")
    unsaid = from_object(changed(GOOD, "spec.evaluate.metrics", None))
    assert isinstance(unsaid, TrainingJob) and "f1" in resolve(unsaid).spec.evaluate.metrics


def test_a_script_needs_neither_data_nor_fit() -> None:
    assert problems(SCRIPT) == []
