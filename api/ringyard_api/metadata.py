"""The part of Kubernetes' metadata that both resources carry and we read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from ringyard_api.about import COUNT, NAME, About, Bounds


@dataclass(frozen=True, kw_only=True)
class ObjectMeta:
    """The part of Kubernetes' metadata that we read."""

    name: Annotated[str, About("Name of the object: an RFC 1035 label.", NAME)]
    namespace: Annotated[str, About("Namespace; without effect in local mode.", Bounds(longest=63))] = ""
    uid: Annotated[str, About("Given when the object is made.", Bounds(longest=64))] = ""
    generation: Annotated[int, About("Grows with each change of the spec.", COUNT)] = 0
    labels: Annotated[Mapping[str, str], About("Labels.")] = field(default_factory=dict)
    annotations: Annotated[Mapping[str, str], About("Annotations.")] = field(default_factory=dict)
    creation_timestamp: Annotated[str, About("When the object was made.", Bounds(longest=64))] = ""
