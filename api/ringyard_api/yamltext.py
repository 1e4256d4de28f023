"""YAML text as plain data, strictly: no value is guessed that a reader would not expect.

`loading` calls it. As YAML 1.2's core schema: `yes` and `12:30` are texts, `1e-3` is a number. A key that stands twice
is an error, and so are tags, dates and aliases that would grow beyond all bounds. It knows no field.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ringyard_api.problems import ManifestError, Problem

_MOST_VALUES = 100_000  # an alias of aliases of aliases would otherwise never end
_DEEPEST = 40


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's rules for bare words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in ("tag:yaml.org,2002:str", _MERGE):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in seen and key.tag != _MERGE:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice in one mapping: keep one of them", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_MERGE = "tag:yaml.org,2002:merge"
_BARE_WORDS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:[0-9]+[eE][-+]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    (_MERGE, r"^<<$", "<"),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _BARE_WORDS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), [*_first.replace("\0", ""), *([""] * ("\0" in _first))])


def parse_yaml(text: str, source: str = "<stdin>") -> list[Any]:
    """The documents of a text as plain data (dict, list, str, int, float, bool); empty ones are left out.

    Raises ManifestError with line and column where it is not YAML.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        raise ManifestError((_marked(error),), source) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ManifestError((Problem(path="", message=f"not YAML: {message}"),), source) from None
    budget = [_MOST_VALUES]
    try:
        return [_plain(document, budget, 0) for document in documents]
    except OverflowError as error:
        raise ManifestError((Problem(path="", message=str(error)),), source) from None


def _marked(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part) or "cannot be read"
    mine = isinstance(error, yaml.constructor.ConstructorError) and not error.context and "constructor" not in said
    message = said if mine else f"not YAML: {said}"
    if mark is None:
        return Problem(path="", message=message)
    return Problem(path="", message=message, line=mark.line + 1, column=mark.column + 1)


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    """A copy without shared parts. Raises OverflowError where it would be too large."""
    budget[0] -= 1
    if budget[0] < 0 or depth > _DEEPEST:
        raise OverflowError(f"holds more than {_MOST_VALUES} values, or is nested deeper than {_DEEPEST}: shorten it")
    if isinstance(value, dict):
        return {key: _plain(item, budget, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, budget, depth + 1) for item in value]
    return value
