"""What a manifest may say beyond the types: rules between fields, what may change later, what is not supported yet.

`loading` asks for the rules, `cli` and `local` for the rest. Pure; the rules themselves are the table in `rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ringyard_api import claims, launch, podtemplate
from ringyard_api.decoding import below, encode
from ringyard_api.fields import fields_of
from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.problems import Problem
from ringyard_api.rules import IMPUTE_VALUE_SAYS, LABEL_SAYS, MODELENDPOINT_RULES, TRAININGJOB_RULES, Rule
from ringyard_api.trainingjob import RunPolicySpec, TrainingJob, TrainingJobSpec

_LOCAL_STORAGE = "file:// and paths are"
IMMUTABLE_SAYS = "is immutable: delete the job, or use another name"


def rule_problems(manifest: TrainingJob | ModelEndpoint, unsound: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Rules between fields that do not hold. A rule is silent where a path that it reads is in `unsound`."""
    job = isinstance(manifest, TrainingJob)
    found = []
    for rule in TRAININGJOB_RULES if job else MODELENDPOINT_RULES:
        for path, owner in _owners(manifest, rule.owner.split("."), ""):
            if not _blind(path, rule, unsound) and not rule.holds(owner):
                found.append(Problem(path=below(path, rule.at) if rule.at else path, message=rule.says))
    if isinstance(manifest, TrainingJob):
        found += [*_environment(manifest.spec.workers.template), *_preprocess(manifest.spec)]
    return tuple(found)


def _owners(value: Any, steps: Sequence[str], path: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if not steps:
        yield path, value
        return
    name = steps[0].removesuffix("[]")
    field = next(each for each in fields_of(type(value)) if each.name == name)
    inner = getattr(value, field.attribute)
    if steps[0].endswith("[]"):
        for at, item in enumerate(inner):
            yield from _owners(item, steps[1:], f"{below(path, name)}[{at}]")
    else:
        yield from _owners(inner, steps[1:], below(path, name))


def _blind(path: str, rule: Rule, unsound: Sequence[str]) -> bool:
    reads = [below(path, name) for name in rule.reads] or [path]
    return any(_within(each, read) or _within(read, each) for each in unsound for read in reads)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def _environment(template: Mapping[str, Any]) -> Iterator[Problem]:
    """Variables in `template` that the launch contract owns. A pod's template is no part of the CRD's schema, so this
    rule has no CEL twin: the operator asks it too.
    """
    root = "spec.workers.template"
    yield from _entries(template.get("env"), f"{root}.env")
    pod = template.get("spec")
    for kind in ("containers", "initContainers"):
        containers = pod.get(kind) if isinstance(pod, Mapping) else None
        for at, container in enumerate(containers if isinstance(containers, (list, tuple)) else ()):
            if isinstance(container, Mapping):
                yield from _entries(container.get("env"), f"{root}.spec.{kind}[{at}].env")


def _entries(env: Any, path: str) -> Iterator[Problem]:
    if env is None:
        return
    if not isinstance(env, (list, tuple)):
        yield Problem(path=path, message="must be a list of {name: …, value: …}")
        return
    for at, entry in enumerate(env):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            yield Problem(path=f"{path}[{at}]", message="must be {name: …, value: …} with a text as name")
        elif launch.reserved(name):
            yield Problem(path=f"{path}[{at}].name", message=f"{name} is set by Ringyard: leave it out")
        elif "value" in entry and not isinstance(entry["value"], str):
            yield Problem(path=f"{path}[{at}].value", message="must be a text: write it in quotes")


def _preprocess(spec: TrainingJobSpec) -> Iterator[Problem]:
    if spec.data is None:
        return
    for at, step in enumerate(spec.data.preprocess):
        if step.name == "impute" and step.args["strategy"] != "constant" and step.args["value"]:
            path = f"spec.data.preprocess[{at}].impute.value"
            yield Problem(path=path, message=IMPUTE_VALUE_SAYS)
        for column in step.args.get("columns", ()):
            path = f"spec.data.preprocess[{at}].{step.name}.columns"
            if column == spec.data.label:
                yield Problem(path=path, message=f"{column!r} {LABEL_SAYS}")
            elif spec.data.features and not {column, column.rpartition(".")[0]} & set(spec.data.features):
                yield Problem(
                    path=path, message=f"{column!r} is not one of data.features: add it there, or drop it here"
                )


def immutable_paths() -> tuple[str, ...]:
    """Paths of all fields of a TrainingJob's spec that must stay as they were made."""
    return tuple(_immutable(TrainingJobSpec, "spec"))


def _immutable(kind: type[Any], path: str) -> Iterator[str]:
    for field in fields_of(kind):
        if field.about.mutable:
            continue
        inner = field.type
        if (
            dataclasses.is_dataclass(inner)
            and isinstance(inner, type)
            and any(f.about.mutable for f in fields_of(inner))
        ):
            yield from _immutable(inner, below(path, field.name))
        else:
            yield below(path, field.name)


def immutable_changes(old: TrainingJob, new: TrainingJob) -> tuple[Problem, ...]:
    """Immutable fields that differ between two resolved jobs, each by the deepest path that both have."""
    before, after = encode(old), encode(new)
    differ = [leaf for path in immutable_paths() for leaf in _differing(path, _at(before, path), _at(after, path))]
    return tuple(Problem(path=path, message=IMMUTABLE_SAYS) for path in differ)


def _differing(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield path
        return
    for name in sorted(before.keys() | after.keys()):
        yield from _differing(below(path, name), before.get(name), after.get(name))


def _at(plain: Any, path: str) -> Any:
    for step in path.split("."):
        plain = plain.get(step) if isinstance(plain, Mapping) else None
    return plain


def unsupported(job: TrainingJob) -> tuple[Problem, ...]:
    """Fields whose behaviour does not exist yet, in local mode."""
    found = [*_not_yet(job.spec), *_not_in_local_mode(job.spec)]
    return tuple(Problem(path=path, message=message) for path, message in found)


def cluster_problems(job: TrainingJob) -> tuple[Problem, ...]:
    """What no pod can do: fields whose behaviour does not exist yet, places that a pod does not see, a template that
    contradicts the launch contract. Rules between fields are not told again.
    """
    found = [*_not_yet(job.spec), *_not_on_a_cluster(job.spec)]
    problems = tuple(Problem(path=path, message=message) for path, message in found)
    return problems + podtemplate.problems(job.spec.workers.template)


def _not_yet(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    if spec.workers.processes != 1:
        yield "spec.workers.processes", "more than 1 is not supported yet: use more replicas"
    if spec.allreduce.algorithm not in ("auto", "ring"):
        yield "spec.allreduce.algorithm", f"{spec.allreduce.algorithm} is not supported yet (auto and ring are)"
    if spec.allreduce.compression != "none":
        yield "spec.allreduce.compression", f"{spec.allreduce.compression} is not supported yet (none is)"
    if spec.compress:
        yield "spec.compress", "is not supported yet: leave it out"
    if spec.data is not None and spec.data.augment:
        yield "spec.data.augment", "is not supported yet: leave it out"
    yield from _not_yet_fit(spec)
    yield from _not_yet_serving(spec)


def _not_yet_fit(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    if spec.fit is None:
        return
    if spec.fit.precision not in ("fp32", "fp64"):
        yield "spec.fit.precision", f"{spec.fit.precision} is not supported yet (fp32 and fp64 are)"
    for name in ("l1", "l2"):
        if getattr(spec.fit.regularization, name):
            yield f"spec.fit.regularization.{name}", "is not supported yet: use optimizer.weightDecay"


def _not_in_local_mode(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    if spec.data is not None and (scheme := scheme_of(spec.data.uri)) not in ("", "file", "sklearn"):
        yield "spec.data.uri", f"{scheme}:// is not supported yet (sklearn://, file:// and paths are)"
    if spec.storage is not None and (scheme := scheme_of(spec.storage.uri)) not in ("", "file"):
        yield "spec.storage.uri", f"{scheme}:// is not supported yet in local mode ({_LOCAL_STORAGE})"
    if spec.code is not None and spec.code.config_map is not None:
        yield "spec.code.configMap", "needs a cluster: in local mode put the files into a folder and use code.path"


def _not_on_a_cluster(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    if spec.data is not None and (scheme := scheme_of(spec.data.uri)) != "sklearn":
        yield from _not_on_a_claim("spec.data.uri", spec.data.uri, scheme, "sklearn:// and pvc:// are")
    if spec.storage is not None:
        yield from _not_on_a_claim("spec.storage.uri", spec.storage.uri, scheme_of(spec.storage.uri), "pvc:// is")
    elif spec.serve is not None:
        yield "spec.storage.uri", "`serve` needs storage that outlives the workers: pvc://CLAIM/PATH"
    if spec.code is not None and spec.code.path is not None:
        yield "spec.code.path", "is a folder of your machine: put the files into a ConfigMap and use code.configMap"


def _not_on_a_claim(path: str, uri: str, scheme: str, there_are: str) -> Iterator[tuple[str, str]]:
    if scheme in ("", "file"):
        yield path, f"{uri} is a place that no pod sees: put it on a PersistentVolumeClaim, as pvc://CLAIM/PATH"
    elif scheme != claims.SCHEME:
        yield path, f"{scheme}:// is not supported yet ({there_are})"
    else:
        try:
            claims.parse(uri)
        except ValueError as error:
            yield path, str(error)


def _not_yet_serving(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    if spec.serve is None:
        return
    if spec.serve.batching is not None:
        yield "spec.serve.batching", "is not supported yet: leave it out"
    rollout = spec.serve.rollout
    if rollout is not None and (rollout.steps != (100,) or rollout.abort_on is not None):
        yield "spec.serve.rollout", "is not supported yet: leave it out, a new version gets all requests at once"


def scheme_of(uri: str) -> str:
    """`s3` of `s3://bucket/key`; empty for a path."""
    return uri.partition("://")[0] if "://" in uri else ""


def cluster_only(job: TrainingJob) -> tuple[str, ...]:
    """Paths of fields that are set and that only a cluster honours: accepted in local mode, without effect there."""
    spec, policy, untouched = job.spec, job.spec.run_policy, RunPolicySpec()
    found = {
        "metadata.namespace": bool(job.metadata.namespace),
        "spec.image": spec.image is not None,
        "spec.workers.resources": spec.workers.resources is not None,
        "spec.workers.template": _more_than_environment(spec.workers.template),
        "spec.serve.replicas": spec.serve is not None and spec.serve.replicas != 1,
        "spec.runPolicy.cleanPodPolicy": policy.clean_pod_policy != untouched.clean_pod_policy,
        "spec.runPolicy.queue": policy.queue is not None,
        "spec.runPolicy.priorityClassName": policy.priority_class_name is not None,
        "spec.runPolicy.managedBy": policy.managed_by is not None,
    }
    return tuple(path for path, there in found.items() if there)


def _more_than_environment(template: Mapping[str, Any]) -> bool:
    """Whether a pod template holds anything that local mode does not take (it takes the first container's env)."""
    if set(template) - {"env", "spec"}:
        return True
    pod = template.get("spec", {})
    containers = pod.get("containers", ()) if isinstance(pod, Mapping) else None
    if not isinstance(containers, (list, tuple)) or set(pod) - {"containers"} or len(containers) > 1:
        return True
    return any(not isinstance(each, Mapping) or set(each) - {"name", "env"} for each in containers)
