"""What `workers.template` may say: a PodTemplate without what Ringyard itself has to know of a worker's pod.

`validation` asks for it where a cluster will run the job; `resources.overlay` relies on it. Fields that only the API
server knows are its business: the operator shows it the whole pod in a dry run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ringyard_api.problems import Problem

ROOT: Final = "spec.workers.template"
WORKER: Final = "worker"
_VOLUMES = "ringyard-"
_MOUNTS = ("/ringyard", "/dev/termination-log")
_LABELS = tuple(f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "managed-by"))
_OURS = "is set by Ringyard: leave it out"
_POD: Final[Mapping[str, str]] = {
    "hostname": _OURS,
    "subdomain": _OURS,
    "restartPolicy": _OURS,
    "activeDeadlineSeconds": "would end one worker and not the job: use spec.runPolicy.activeDeadlineSeconds",
    "ephemeralContainers": "are added to a pod that runs, not to a template: leave them out",
    "priorityClassName": "has a field of its own: use spec.runPolicy.priorityClassName",
}
_CONTAINER: Final[Mapping[str, str]] = {
    "command": "is Ringyard's agent: use spec.command for a script of your own",
    "args": "are those of Ringyard's agent: use spec.command for a script of your own",
    "terminationMessagePath": _OURS,
    "terminationMessagePolicy": _OURS,
    "restartPolicy": _OURS,
}


def problems(template: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Everything that Ringyard cannot follow; reserved variables are told by `validation.rule_problems`."""
    found = [*_directives(template, ROOT)]
    found += [
        _wrong(f"{ROOT}.{name}", "is no part of it: a template has metadata, spec and env")
        for name in sorted(set(template) - {"env", "metadata", "spec"})
    ]
    found += _metadata(template.get("metadata"), f"{ROOT}.metadata")
    found += _spec(template.get("spec"), f"{ROOT}.spec")
    return tuple(found)


def _metadata(metadata: Any, path: str) -> Iterator[Problem]:
    if not _is_mapping(metadata):
        yield _wrong(path, "must be a mapping")
        return
    for name in sorted(set(metadata or {}) - {"labels", "annotations"}):
        yield _wrong(f"{path}.{name}", "is set by Ringyard: a template gives labels and annotations only")
    for kind in ("labels", "annotations"):
        given = (metadata or {}).get(kind)
        if not _is_mapping(given):
            yield _wrong(f"{path}.{kind}", "must be a mapping of texts")
            continue
        for name, value in (given or {}).items():
            if name.startswith(("ringyard.dev/", "kueue.x-k8s.io/pod-group-")) or name in _LABELS:
                yield _wrong(f"{path}.{kind}.{name}", _OURS)
            elif name == "kueue.x-k8s.io/queue-name":
                yield _wrong(f"{path}.{kind}.{name}", "has a field of its own: use spec.runPolicy.queue")
            elif not isinstance(value, str):
                yield _wrong(f"{path}.{kind}.{name}", "must be a text: write it in quotes")


def _spec(spec: Any, path: str) -> Iterator[Problem]:
    if not _is_mapping(spec):
        yield _wrong(path, "must be a mapping")
        return
    spec = spec or {}
    for name in sorted(set(spec) & set(_POD)):
        yield _wrong(f"{path}.{name}", _POD[name])
    yield from _containers(spec.get("containers"), f"{path}.containers")
    for at, (item, where) in enumerate(_items(spec.get("initContainers"), f"{path}.initContainers")):
        if isinstance(item, Problem):
            yield item
        elif not item.get("name") or item["name"] == WORKER:
            yield _wrong(f"{path}.initContainers[{at}].name", "must be given, and must not be 'worker'")
        else:
            yield from _keyed_lists(item, where)
    for item, where in _items(spec.get("volumes"), f"{path}.volumes"):
        if isinstance(item, Problem):
            yield item
        elif not isinstance(item.get("name"), str) or item["name"].startswith(_VOLUMES):
            yield _wrong(f"{where}.name", f"must be given, and must not begin with {_VOLUMES}")
    for name, key in (
        ("imagePullSecrets", "name"),
        ("hostAliases", "ip"),
        ("topologySpreadConstraints", "topologyKey"),
        ("resourceClaims", "name"),
        ("schedulingGates", "name"),
    ):
        yield from _keyed(spec.get(name), f"{path}.{name}", key)


def _containers(containers: Any, path: str) -> Iterator[Problem]:
    for at, (item, where) in enumerate(_items(containers, path)):
        if isinstance(item, Problem):
            yield item
        elif item.get("name", WORKER) != WORKER:
            yield _wrong(
                f"{where}.name",
                "must be 'worker' or left out: one more container would keep the pod alive when the worker has ended; "
                "put it into initContainers with restartPolicy: Always",
            )
        elif at:
            yield _wrong(where, "there is one worker: put everything into the first container")
        else:
            for name in sorted(set(item) & set(_CONTAINER)):
                yield _wrong(f"{where}.{name}", _CONTAINER[name])
            yield from _keyed_lists(item, where)
            yield from _mounts(item.get("volumeMounts"), f"{where}.volumeMounts")


def _keyed_lists(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name, key in (("ports", "containerPort"), ("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
        yield from _keyed(container.get(name), f"{path}.{name}", key)


def _mounts(mounts: Any, path: str) -> Iterator[Problem]:
    for item, where in _items(mounts, path):
        place = item.get("mountPath") if isinstance(item, Mapping) else None
        if isinstance(place, str) and any(place.rstrip("/") == m or place.startswith(f"{m}/") for m in _MOUNTS):
            yield _wrong(f"{where}.mountPath", f"{place} belongs to Ringyard: mount it elsewhere")


def _keyed(items: Any, path: str, key: str) -> Iterator[Problem]:
    for item, where in _items(items, path):
        if isinstance(item, Problem):
            yield item
        elif item.get(key) in (None, "") or isinstance(item[key], (dict, list)):
            yield _wrong(f"{where}.{key}", "must be given")


def _items(items: Any, path: str) -> Iterator[tuple[Mapping[str, Any] | Problem, str]]:
    if items is not None and not isinstance(items, (list, tuple)):
        yield _wrong(path, "must be a list"), path
        return
    for at, item in enumerate(items or ()):
        where = f"{path}[{at}]"
        yield (item if isinstance(item, Mapping) else _wrong(where, "must be a mapping")), where


def _directives(value: Any, path: str) -> Iterator[Problem]:
    """`$patch`, `$retainKeys` and their like are kubectl's, and we follow none of them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if str(name).startswith("$"):
                yield _wrong(f"{path}.{name}", "is not followed: write null to remove a field")
            else:
                yield from _directives(inner, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for at, inner in enumerate(value):
            yield from _directives(inner, f"{path}[{at}]")


def _is_mapping(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _wrong(path: str, message: str) -> Problem:
    return Problem(path=path, message=message)
