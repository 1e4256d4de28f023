"""The fields of our dataclasses with what they say about themselves, ready for loading, schema and reference.

It reads types, never values.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ringyard_api.about import About


@dataclass(frozen=True, kw_only=True)
class FieldOf:
    """One field of a dataclass.

    Attributes:
        attribute: name in Python.
        name: name in YAML.
        type: without Annotated and without `| None`.
        optional: None is allowed.
        required: it has no default.
        default: of the dataclass; None where there is none.
    """

    attribute: str
    name: str
    type: Any
    about: About
    optional: bool
    required: bool
    default: Any


def camel(attribute: str) -> str:
    """`min_replicas` as `minReplicas`."""
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


def unwrap(annotation: Any) -> tuple[Any, About, bool]:
    """Type without Annotated and None, what it says about itself, and whether None is allowed."""
    about, optional = About(""), False
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        about = next((note for note in notes if isinstance(note, About)), about)
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        optional = True
        rest = tuple(each for each in get_args(annotation) if each is not type(None))
        annotation = rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 (of a tuple made at run time)
    return annotation, about, optional


def fields_of(kind: type[Any]) -> tuple[FieldOf, ...]:
    """The fields of a dataclass in order."""
    key: Any = kind
    return _fields_of(key)


@functools.cache
def _fields_of(kind: Any) -> tuple[FieldOf, ...]:
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for each in dataclasses.fields(kind):
        inner, about, optional = unwrap(hints[each.name])
        default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        required = default is dataclasses.MISSING
        found.append(
            FieldOf(
                attribute=each.name,
                name=about.spelled or camel(each.name),
                type=inner,
                about=about,
                optional=optional,
                required=required,
                default=None if required else default,
            )
        )
    return tuple(found)


def is_literal(kind: Any) -> bool:
    """Whether it is an enumeration of texts."""
    return get_origin(kind) is Literal


def item_of(kind: Any) -> Any | None:
    """Annotation of the items where it is `tuple[X, ...]`, else None."""
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def value_of(kind: Any) -> Any | None:
    """Annotation of the values where it is `Mapping[str, X]`, else None."""
    return get_args(kind)[1] if get_origin(kind) is Mapping else None


def is_union(kind: Any) -> bool:
    """Whether several scalar types are allowed."""
    return get_origin(kind) in (Union, types.UnionType)
