"""What one field may hold, in CEL: the same bounds and the same sentences that `decoding` has in Python.

`schema` writes them into the CRD, because the API server's own words for a bound ("in body should match '^[a-z]…'")
name no remedy. It puts path and value before our sentence. Greatest lengths stay keywords of the schema: CEL's cost
limit is computed from them. It knows no particular field.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringyard_api.about import Bounds

Rule = dict[str, str]  # one entry of x-kubernetes-validations


def number_rules(bounds: Bounds, *, whole: bool) -> Iterator[Rule]:
    """Bounds of a number."""
    for bound, sign, words in (
        (bounds.at_least, ">=", "at least"),
        (bounds.above, ">", "greater than"),
        (bounds.at_most, "<=", "at most"),
        (bounds.below, "<", "less than"),
    ):
        if bound is not None:
            value = int(bound) if whole else float(bound)
            yield {"rule": f"self {sign} {value}", "message": f"must be {words} {bound:.12g}"}


def text_rules(bounds: Bounds) -> Iterator[Rule]:
    """Pattern and least length of a text."""
    if bounds.pattern_says:
        yield {"rule": f"self.matches({_literal(bounds.pattern)})", "message": bounds.pattern_says}
    else:
        yield from length_rules(bounds, "characters")


def length_rules(bounds: Bounds, unit: str) -> Iterator[Rule]:
    """Least length of a text or a list."""
    if bounds.shortest:
        says = "must not be empty" if bounds.shortest == 1 else f"must have at least {bounds.shortest} {unit}"
        yield {"rule": f"size(self) >= {bounds.shortest}", "message": says}


def one_of(names: Iterable[str], says: str) -> Rule:
    """Exactly one of an object's fields stands there."""
    there = ", ".join(f"has(self.{name})" for name in names)
    return {"rule": f"[{there}].filter(there, there).size() == 1", "message": says}


def name_rules(bounds: Bounds) -> Iterator[Rule]:
    """Rules on the object's root for its name: the schema of metadata itself is Kubernetes'."""
    name = "self.metadata.name"
    too_long = f"size({name}) > {bounds.longest}"
    pattern = f"{too_long} || {name}.matches({_literal(bounds.pattern)})"
    path = {"fieldPath": ".metadata.name"}
    yield {"rule": pattern, "message": bounds.pattern_says, **path}
    yield {"rule": f"!({too_long})", "message": f"must have at most {bounds.longest} characters", **path}


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
