"""Rules between fields: each row holds the same rule twice, in CEL for the API server and in Python for everybody else.

`validation` walks the table, `schema` writes its CEL half into the CRD; a test holds the two against each other on the
same manifests. What one field alone may hold is said by the field itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringyard_api.trainingjob import Metric

CLASSIFICATION: Final[tuple[Metric, ...]] = ("loss", "accuracy", "precision", "recall", "f1")
REGRESSION: Final[tuple[Metric, ...]] = ("loss", "mse", "mae", "r2")
METRICS_OF_LOSS: Final[Mapping[str, tuple[Metric, ...]]] = {"crossEntropy": CLASSIFICATION, "mse": REGRESSION}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        owner: path of the object that it stands on; `[]` for each item of a list.
        holds: the rule on that object, for Python.
        cel: the rule on that object, for the API server.
        says: our sentence, from both.
        at: path of the field to blame, below the owner; empty for the owner itself.
        reads: paths below the owner that must be sound for the rule to speak; empty: all of the owner.
    """

    owner: str
    holds: Callable[[Any], bool]
    cel: str
    says: str
    at: str = ""
    reads: tuple[str, ...] = ()


def suits(metric: str, loss: str) -> bool:
    """Whether a metric (with or without `val_`) can be computed where that loss is trained with."""
    return metric.removeprefix("val_") in METRICS_OF_LOSS[loss]


def _metrics_suit(spec: Any, metrics: Callable[[Any], Any]) -> bool:
    return spec.fit is None or all(suits(metric, spec.fit.loss) for metric in metrics(spec))


def _watched(spec: Any) -> str | None:
    stopping = spec.fit.early_stopping if spec.fit is not None else None
    return None if stopping is None else stopping.metric


def _quoted(metrics: tuple[Metric, ...], prefix: str = "") -> str:
    return ", ".join(f"'{prefix}{metric}'" for metric in metrics)


def _cel_suits(what: str, guard: str, prefix: str = "") -> str:
    lists = f"(self.fit.loss == 'mse' ? [{_quoted(REGRESSION, prefix)}] : [{_quoted(CLASSIFICATION, prefix)}])"
    return f"!has(self.fit) || {guard} || {what.replace('LIST', lists)}"


_HAS_COMMAND = "(has(self.command) && size(self.command) > 0)"
_NO_GATE = "!has(self.evaluate) || !has(self.evaluate.gate) || size(self.evaluate.gate) == 0"
_NO_STOPPING = "!has(self.fit) || !has(self.fit.earlyStopping)"
_SUITS_SAYS = (
    "does not suit fit.loss: crossEntropy has loss, accuracy, precision, recall, f1; mse has loss, mse, mae, r2"
)

TRAININGJOB_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        owner="spec",
        holds=lambda spec: (spec.model is not None) != bool(spec.command),
        cel=f"has(self.model) != {_HAS_COMMAND}",
        says="give exactly one of model (a declared fit) and command (your own script)",
        reads=("model", "command"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: spec.model is None or spec.data is not None,
        cel="!has(self.model) || has(self.data)",
        says="must be given with model: say what is trained on, for example data: {uri: sklearn://digits}",
        at="data",
        reads=("model", "data"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: spec.model is None or spec.fit is not None,
        cel="!has(self.model) || has(self.fit)",
        says="must be given with model: say how long to train, for example fit: {epochs: 10}",
        at="fit",
        reads=("model", "fit"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: spec.model is not None or not spec.command or (spec.data is None and spec.fit is None),
        cel=f"has(self.model) || !{_HAS_COMMAND} || (!has(self.data) && !has(self.fit))",
        says="data and fit have no effect with command: leave them out, your script has its own",
        reads=("model", "command", "data", "fit"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: (
            spec.model is not None or not spec.command or not (spec.evaluate.metrics or spec.evaluate.gate)
        ),
        cel=f"has(self.model) || !{_HAS_COMMAND} || !has(self.evaluate) || "
        "(!has(self.evaluate.metrics) && !has(self.evaluate.gate))",
        says="has no effect with command: leave it out, only a declared fit (model) is evaluated",
        at="evaluate",
        reads=("model", "command", "evaluate"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: (
            not spec.evaluate.gate or spec.data is None or spec.data.split.test > 0 or spec.data.split.validation > 0
        ),
        cel=f"{_NO_GATE} || !has(self.data) || self.data.split.test > 0.0 || self.data.split.validation > 0.0",
        says="a gate needs samples that were not trained on: set data.split.test, or data.split.validation",
        at="evaluate.gate",
        reads=("evaluate.gate", "data.split"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: _metrics_suit(spec, lambda s: (gate.metric for gate in s.evaluate.gate)),
        cel=_cel_suits("self.evaluate.gate.all(g, g.metric in LIST)", _NO_GATE),
        says=f"a metric of the gate {_SUITS_SAYS}",
        at="evaluate.gate",
        reads=("evaluate.gate", "fit.loss"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: _metrics_suit(spec, lambda s: s.evaluate.metrics),
        cel=_cel_suits("self.evaluate.metrics.all(m, m in LIST)", "!has(self.evaluate) || !has(self.evaluate.metrics)"),
        says=f"a metric {_SUITS_SAYS}",
        at="evaluate.metrics",
        reads=("evaluate.metrics", "fit.loss"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: _watched(spec) is None or suits(_watched(spec) or "", spec.fit.loss),
        cel=_cel_suits("self.fit.earlyStopping.metric in LIST", "!has(self.fit.earlyStopping)", "val_"),
        says=f"the metric {_SUITS_SAYS} (each with val_ before it)",
        at="fit.earlyStopping.metric",
        reads=("fit.earlyStopping", "fit.loss"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: _watched(spec) is None or spec.data is None or spec.data.split.validation > 0,
        cel=f"{_NO_STOPPING} || !has(self.data) || self.data.split.validation > 0.0",
        says="early stopping watches the validation part: set data.split.validation, for example 0.1",
        at="fit.earlyStopping",
        reads=("fit.earlyStopping", "data.split"),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: (
            spec.data is None or spec.fit is None or not spec.data.split.stratify or spec.fit.loss == "crossEntropy"
        ),
        cel="!has(self.data) || !has(self.fit) || !self.data.split.stratify || self.fit.loss == 'crossEntropy'",
        says="needs classes, and fit.loss mse has none: set it to false",
        at="data.split.stratify",
        reads=("data.split.stratify", "fit.loss"),
    ),
    Rule(
        owner="spec.workers",
        holds=lambda workers: workers.min_replicas <= workers.replicas,
        cel="self.minReplicas <= self.replicas",
        says="must be at most replicas: lower minReplicas, or raise replicas",
        at="minReplicas",
        reads=("minReplicas", "replicas"),
    ),
    Rule(
        owner="spec.workers",
        holds=lambda workers: workers.max_replicas is None or workers.replicas <= workers.max_replicas,
        cel="!has(self.maxReplicas) || self.replicas <= self.maxReplicas",
        says="must be at least replicas: raise maxReplicas, or lower replicas",
        at="maxReplicas",
        reads=("maxReplicas", "replicas"),
    ),
    Rule(
        owner="spec.code",
        holds=lambda code: (code.config_map is None) != (code.path is None),
        cel="has(self.configMap) != has(self.path)",
        says="give exactly one of configMap (on a cluster) and path (in local mode)",
    ),
    Rule(
        owner="spec.data",
        holds=lambda data: data.label is not None or data.uri.startswith("sklearn://"),
        cel="has(self.label) || self.uri.startsWith('sklearn://')",
        says="is missing: name the column to predict",
        at="label",
        reads=("label", "uri"),
    ),
    Rule(
        owner="spec.data",
        holds=lambda data: data.label is None or data.label not in data.features,
        cel="!has(self.label) || !has(self.features) || !(self.label in self.features)",
        says="must not hold the label: a model would learn to copy it",
        at="features",
        reads=("label", "features"),
    ),
    Rule(
        owner="spec.data.split",
        holds=lambda split: split.validation + split.test < 1,
        cel="self.validation + self.test < 1.0",
        says="validation and test must leave samples to train on: their sum must be less than 1",
    ),
    Rule(
        owner="spec.fit",
        holds=lambda fit: (fit.epochs is None) != (fit.steps is None),
        cel="has(self.epochs) != has(self.steps)",
        says="give exactly one of epochs and steps",
        reads=("epochs", "steps"),
    ),
    Rule(
        owner="spec.fit.optimizer",
        holds=lambda optimizer: optimizer.momentum == 0 or optimizer.name == "sgd",
        cel="self.momentum == 0.0 || self.name == 'sgd'",
        says="has an effect with sgd only: leave it out, or use sgd",
        at="momentum",
        reads=("momentum", "name"),
    ),
    Rule(
        owner="spec.fit.optimizer",
        holds=lambda optimizer: optimizer.name != "sgd" or optimizer.betas == (0.9, 0.999),
        cel="self.name != 'sgd' || self.betas == [0.9, 0.999]",
        says="has no effect with sgd: leave it out, or use adam or adamw",
        at="betas",
        reads=("betas", "name"),
    ),
    Rule(
        owner="spec.fit.schedule",
        holds=lambda schedule: (schedule.name == "step") == (schedule.step_size is not None),
        cel="(self.name == 'step') == has(self.stepSize)",
        says="must be given with schedule step, and with no other",
        at="stepSize",
        reads=("name", "stepSize"),
    ),
    Rule(
        owner="spec.fit.schedule",
        holds=lambda schedule: schedule.name == "step" or schedule.gamma == 0.1,
        cel="self.name == 'step' || self.gamma == 0.1",
        says="has an effect with schedule step only: leave it out, or use step",
        at="gamma",
        reads=("name", "gamma"),
    ),
    Rule(
        owner="spec.fit.schedule",
        holds=lambda schedule: schedule.name == "cosine" or schedule.min_lr == 0,
        cel="self.name == 'cosine' || self.minLr == 0.0",
        says="has an effect with schedule cosine only: leave it out, or use cosine",
        at="minLr",
        reads=("name", "minLr"),
    ),
    Rule(
        owner="spec.evaluate.gate[]",
        holds=lambda gate: (gate.at_least is None) != (gate.at_most is None),
        cel="has(self.atLeast) != has(self.atMost)",
        says="give exactly one of atLeast and atMost",
    ),
    Rule(
        owner="spec.serve.rollout",
        holds=lambda rollout: list(rollout.steps) == sorted(rollout.steps) and rollout.steps[-1] == 100,
        cel="self.steps.isSorted() && self.steps[size(self.steps) - 1] == 100",
        says="must grow and end with 100",
        at="steps",
    ),
)

LABEL_SAYS = "is the label: only features are preprocessed"
IMPUTE_VALUE_SAYS = "has an effect with strategy constant only: leave it out, or use constant"

# Their Python halves are in `validation`, which names the step and the column.
CEL_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        owner="spec.data.preprocess[].impute",
        holds=lambda _: True,
        cel="self.strategy == 'constant' || self.value == 0.0",
        says=IMPUTE_VALUE_SAYS,
        at="value",
    ),
    Rule(
        owner="spec.data",
        holds=lambda _: True,
        cel="!has(self.label) || !has(self.preprocess) || self.preprocess.all(s, "
        "(!has(s.oneHot) || !(self.label in s.oneHot.columns)) && "
        "(!has(s.impute) || !has(s.impute.columns) || !(self.label in s.impute.columns)) && "
        "(!has(s.standardize) || !has(s.standardize.columns) || !(self.label in s.standardize.columns)))",
        says=f"a column of a step {LABEL_SAYS}",
        at="preprocess",
    ),
)

MODELENDPOINT_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        owner="spec",
        holds=lambda spec: not spec.versions or sum(version.weight for version in spec.versions) == 100,
        cel="!has(self.versions) || size(self.versions) == 0 || self.versions.map(v, v.weight).sum() == 100",
        says="the weights of the versions must sum to 100",
        at="versions",
        reads=("versions",),
    ),
    Rule(
        owner="spec",
        holds=lambda spec: all(int(version.version) <= spec.last_version for version in spec.versions),
        cel="!has(self.versions) || self.versions.all(v, int(v.version) <= self.lastVersion)",
        says="must be at least the highest version: a number is given once and never reused",
        at="lastVersion",
        reads=("versions", "lastVersion"),
    ),
    Rule(
        owner="spec.rollout",
        holds=lambda rollout: list(rollout.steps) == sorted(rollout.steps) and rollout.steps[-1] == 100,
        cel="self.steps.isSorted() && self.steps[size(self.steps) - 1] == 100",
        says="must grow and end with 100",
        at="steps",
    ),
)
