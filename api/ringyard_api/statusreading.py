"""A status as somebody may have left it on a cluster, read without trust: what is sound is kept, the rest forgotten.

`clusterobject` calls it before each decision. A status can be edited by hand or written by an older version; what is
lost by that is observed again, and a wrong word must never stop the operator. It knows the shape and no meaning.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ringyard_api.decoding import NOTHING, Decoder
from ringyard_api.fields import FieldOf, fields_of, item_of, value_of
from ringyard_api.jobstatus import JobStatus, seconds
from ringyard_api.modelendpoint import ModelEndpointStatus
from ringyard_api.reasons import ConditionType

_TIMES = frozenset({"startTime", "completionTime", "lastTransitionTime", "at"})
_PERCENT = re.compile(r"100%|[1-9]?[0-9]%")
_CONDITIONS = frozenset(kind.value for kind in ConditionType)
_LATEST = 2**33  # Unix seconds, in the year 2242
_MOST = 10**9  # attempts and counters beyond it are nobody's count


def readable(status: object) -> JobStatus:
    """The status of a TrainingJob."""
    found: JobStatus = _instance(JobStatus, status)
    return found if isinstance(found, JobStatus) else JobStatus()


def readable_endpoint(status: object) -> ModelEndpointStatus:
    """The status of a ModelEndpoint."""
    found: ModelEndpointStatus = _instance(ModelEndpointStatus, status)
    return found if isinstance(found, ModelEndpointStatus) else ModelEndpointStatus()


def _instance(kind: type[Any], plain: object) -> Any:
    """The dataclass with what is sound; NOTHING where a field that it must have is not."""
    if not isinstance(plain, Mapping):
        return NOTHING
    values: dict[str, Any] = {}
    for field in fields_of(kind):
        value = _value(field, plain.get(field.name))
        if field.required and value == "":
            value = NOTHING  # what is empty is left out when it is written, and then it would be missed
        if value is not NOTHING:
            values[field.attribute] = value
        elif field.required:
            return NOTHING
    return kind(**values)


def _value(field: FieldOf, plain: Any) -> Any:
    if plain is None or (field.name in _TIMES and not _is_time(plain)):
        return NOTHING
    if field.name == "progress" and not (isinstance(plain, str) and _PERCENT.fullmatch(plain)):
        return NOTHING
    item = item_of(field.type)
    if item is not None and isinstance(plain, (list, tuple)):
        made = (_instance(item, each) for each in plain)
        return tuple(_distinct([each for each in made if each is not NOTHING], field))
    if dataclasses.is_dataclass(field.type) and isinstance(field.type, type):
        return _instance(field.type, plain)
    if value_of(field.type) is not None and isinstance(plain, Mapping):
        return {str(name): each for name, each in plain.items() if _is_entry(field, str(name), each)}
    return _plain(field, plain)


def _plain(field: FieldOf, plain: Any) -> Any:
    if isinstance(plain, int) and abs(plain) > _MOST:
        return NOTHING
    if field.type is float and isinstance(plain, int) and not isinstance(plain, bool):
        plain = float(plain)
    decoder = Decoder()
    value = decoder.value(field, plain, field.name)
    return NOTHING if decoder.problems else value


def _is_entry(field: FieldOf, name: str, plain: Any) -> bool:
    """Of `attempts`: an index and a count. Of metrics: a name and a number."""
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        return False
    if field.name == "attempts":
        return name.isdecimal() and isinstance(plain, int) and 0 <= plain <= _MOST
    return plain == plain and abs(plain) != float("inf")


def _distinct(items: list[Any], field: FieldOf) -> list[Any]:
    """Items with a key of their own; of conditions those that we know, because others are somebody else's."""
    kept: dict[Any, Any] = {}
    for at, item in enumerate(items):
        key = tuple(getattr(item, name) for name in field.about.merge_key) or at
        if field.name != "conditions" or item.type in _CONDITIONS:
            kept.setdefault(key, item)
    return list(kept.values())


def _is_time(plain: Any) -> bool:
    try:
        return isinstance(plain, str) and 0 <= seconds(plain) < _LATEST
    except ValueError:
        return False
