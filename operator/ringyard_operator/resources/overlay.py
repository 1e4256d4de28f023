"""Lays `workers.template` over a worker's pod, as Kubernetes' strategic merge patch would.

`worker` calls it with a template that `ringyard_api.podtemplate` has found sound. It knows no field's meaning, only how
lists are merged: by the merge keys of core/v1 (k8s.io/api/core/v1/types.go, `patchMergeKey`), other lists are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringyard_operator.resources.names import WORKER

_POD: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
_CONTAINER: Final = {
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_MERGE_KEYS: Final[Mapping[tuple[str, ...], str]] = {
    **{(name,): key for name, key in _POD.items()},
    **{(kind, name): key for kind in ("containers", "initContainers") for name, key in _CONTAINER.items()},
}
# Items of which only one of several fields may be set (value or valueFrom; one source of a volume): replaced whole.
_UNIONS: Final = frozenset({("volumes",), ("containers", "env"), ("initContainers", "env")})


def lay(pod: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """The pod with the template over it. Labels and annotations of the pod itself stay as they are."""
    metadata, spec = dict(pod["metadata"]), pod["spec"]
    given = template.get("metadata") or {}
    for name in ("labels", "annotations"):
        merged = {**(given.get(name) or {}), **metadata.get(name, {})}
        if merged:
            metadata[name] = merged
    if template.get("env"):
        spec = _merged(spec, {"containers": [{"name": WORKER, "env": template["env"]}]}, ())
    wanted = dict(template.get("spec") or {})
    if wanted.get("containers"):
        wanted["containers"] = [{"name": WORKER, **each} for each in wanted["containers"]]
    return {**pod, "metadata": metadata, "spec": _merged(spec, wanted, ())}


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """`base` with `patch` over it; null removes a field."""
    merged = dict(base)
    for name, value in patch.items():
        here = (*path, name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            below = merged.get(name)
            merged[name] = _merged(below if isinstance(below, Mapping) else {}, value, here)
        elif isinstance(value, (list, tuple)) and here in _MERGE_KEYS:
            merged[name] = _merged_list(merged.get(name) or [], value, here)
        else:
            merged[name] = value
    return merged


def _merged_list(base: Sequence[Any], patch: Sequence[Any], path: tuple[str, ...]) -> list[Any]:
    """Items of the same key are merged in their place, new ones follow in their order."""
    key = _MERGE_KEYS[path]
    merged = {item[key]: item for item in base}
    for item in patch:
        below = {} if path in _UNIONS else merged.get(item[key], {})
        merged[item[key]] = _merged(below, item, path)
    return list(merged.values())
