"""What a server is told to serve: the list of versions, read from a file or from ServerControl, checked at the door.

The file is the truth that a restarted server begins from; `Apply` pushes changes of it. Pure: it reads no file and
knows no protobuf. Artifacts, loading and weights in use belong to the repository.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class WantedError(ValueError):
    """The list cannot be followed: one sentence that says why."""


@dataclass(frozen=True, kw_only=True)
class WantedVersion:
    """One version: where its artifact is, what its manifest's digest must be, and its share of the requests."""

    version: str
    uri: str
    digest: str
    weight: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All versions that a server shall hold. A list of a lower generation than the last seen is stale."""

    model: str
    generation: int
    versions: tuple[WantedVersion, ...]


def is_version(text: str) -> bool:
    """Whether this is a version as endpoints number them: 1, 2, 3 …"""
    return _VERSION.fullmatch(text) is not None


def check(wanted: Wanted) -> Wanted:
    """The same list, if it can be followed; else `WantedError`."""
    seen: set[str] = set()
    for entry in wanted.versions:
        if not is_version(entry.version):
            raise WantedError(f"version {entry.version!r}: must be a number from 1, as the endpoint gives them")
        if entry.version in seen:
            raise WantedError(f"version {entry.version}: named twice")
        seen.add(entry.version)
        if not _DIGEST.fullmatch(entry.digest):
            raise WantedError(f"version {entry.version}: digest {entry.digest!r} is not 'sha256:' and 64 hex digits")
        if not entry.uri.startswith("file:///"):
            raise WantedError(f"version {entry.version}: uri {entry.uri!r} is not a file:/// folder")
        if not 0 <= entry.weight <= 100:
            raise WantedError(f"version {entry.version}: weight must be 0 to 100, got {entry.weight}")
    total = sum(entry.weight for entry in wanted.versions)
    if wanted.versions and total != 100:
        raise WantedError(f"the weights of model '{wanted.model}' must sum to 100, got {total}")
    return wanted


def from_json(text: str) -> Wanted:
    """The list from the wanted file. A single version without a weight has all of it. Raises `WantedError`."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise WantedError(f"not JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise WantedError("must be an object with model, generation and versions")
    raw = data.get("versions", [])
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not all(isinstance(entry, Mapping) for entry in raw):
        raise WantedError("versions: must be a list of objects")
    alone = 100 if len(raw) == 1 else 0
    try:
        versions = tuple(_version(entry, alone) for entry in raw)
        wanted = Wanted(model=str(data["model"]), generation=int(data.get("generation", 0)), versions=versions)
    except KeyError as error:
        raise WantedError(f"{error.args[0]}: missing") from None
    except (TypeError, ValueError) as error:
        raise WantedError(str(error)) from None
    return check(wanted)


def _version(entry: Mapping[str, Any], alone: int) -> WantedVersion:
    return WantedVersion(
        version=str(entry["version"]),
        uri=str(entry["uri"]),
        digest=str(entry["digest"]),
        weight=int(entry.get("weight", alone)),
    )
