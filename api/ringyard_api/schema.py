"""Our dataclasses as structural OpenAPI v3 schemas, as Kubernetes' apiextensions.k8s.io/v1 wants them.

`crd` calls it. What a field says about itself becomes description, bounds and default. The bounds of a spec are rules
that say our sentence (`cel`), those of a status plain keywords: only we write it. It knows no particular field.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, get_args

from ringyard_api import cel
from ringyard_api.about import LONGEST_QUANTITY, LONGEST_TEXT, MOST_ITEMS, About, Bounds
from ringyard_api.decoding import STEP_SAYS, encode
from ringyard_api.fields import FieldOf, fields_of, is_literal, is_union, item_of, unwrap, value_of
from ringyard_api.trainingjob import PREPROCESS_STEPS, PreprocessStep

_FREE = "x-kubernetes-preserve-unknown-fields"


def object_schema(kind: type[Any], *, spec: bool) -> dict[str, Any]:
    """Schema of a dataclass; `spec`: users write it, so constant defaults and our sentences stand in it."""
    if kind is PreprocessStep:
        steps = {name: _step_schema(args) for name, args in PREPROCESS_STEPS.items()}
        return _ruled({"type": "object", "properties": steps}, [cel.one_of(PREPROCESS_STEPS, STEP_SAYS)])
    fields = fields_of(kind)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field_schema(field, spec=spec) for field in fields},
    }
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    return schema


def _step_schema(args: type[Any]) -> dict[str, Any]:
    return {"description": (args.__doc__ or "").strip(), **object_schema(args, spec=True)}


def field_schema(field: FieldOf, *, spec: bool) -> dict[str, Any]:
    """Schema of one field."""
    schema = _described(field.about.says, _value_schema(field.type, field.about, spec))
    default = encode(field.default)
    if spec and not field.required and default not in (None, "", [], {}):
        schema["default"] = default
    return schema


def _described(says: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": says, **schema} if says else schema


def _value_schema(kind: Any, about: About, spec: bool) -> dict[str, Any]:
    item, value = item_of(kind), value_of(kind)
    if item is not None:
        return _array(item, about, spec)
    if value is not None:
        inner, of_value, _ = unwrap(value)
        if inner is Any:
            return {"type": "object", _FREE: True}
        schema = {"type": "object", "additionalProperties": _value_schema(inner, of_value, spec)}
        return schema if about.bounds.longest is None else {**schema, "maxProperties": about.bounds.longest}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return object_schema(kind, spec=spec)
    if kind is bool:
        return {"type": "boolean"}
    if is_literal(kind):
        return {"type": "string", "enum": list(get_args(kind))}
    if is_union(kind):
        either = [{"type": "integer"}, {"type": "string"}]
        return {"anyOf": either, "x-kubernetes-int-or-string": True, "maxLength": LONGEST_QUANTITY}
    return _text(about.bounds, spec) if kind is str else _number(kind, about.bounds, spec)


def _array(item: Any, about: About, spec: bool) -> dict[str, Any]:
    kind, of_item, _ = unwrap(item)
    schema: dict[str, Any] = {
        "type": "array",
        "items": _described(of_item.says, _value_schema(kind, of_item, spec)),
        "maxItems": MOST_ITEMS if about.bounds.longest is None else about.bounds.longest,
    }
    if about.merge_key:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(about.merge_key)
    elif about.unique:
        schema["x-kubernetes-list-type"] = "set"
    return _ruled(schema, cel.length_rules(about.bounds, "items") if spec else ())


def _text(bounds: Bounds, spec: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "string",
        "maxLength": LONGEST_TEXT if bounds.longest is None else bounds.longest,
    }
    if spec:
        return _ruled(schema, cel.text_rules(bounds))
    if bounds.shortest:
        schema["minLength"] = bounds.shortest
    if bounds.pattern:
        schema["pattern"] = bounds.pattern
    return schema


def _number(kind: Any, bounds: Bounds, spec: bool) -> dict[str, Any]:
    whole = kind is int
    schema: dict[str, Any] = {"type": "integer", "format": "int64"} if whole else {"type": "number", "format": "double"}
    if spec:
        return _ruled(schema, cel.number_rules(bounds, whole=whole))
    for name, bound, exclusive in (
        ("minimum", bounds.at_least, False),
        ("minimum", bounds.above, True),
        ("maximum", bounds.at_most, False),
        ("maximum", bounds.below, True),
    ):
        if bound is not None:
            schema[name] = int(bound) if whole or bound == int(bound) else bound
            if exclusive:
                schema[f"exclusive{name.capitalize()}"] = True
    return schema


def _ruled(schema: dict[str, Any], rules: Iterable[cel.Rule]) -> dict[str, Any]:
    found = list(rules)
    return {**schema, "x-kubernetes-validations": found} if found else schema
