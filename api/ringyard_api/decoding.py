"""Plain data into our dataclasses and back, strictly, with every problem collected instead of the first one raised.

`loading` calls it. What a field may hold is said by the field itself (`fields`, `about`); rules between fields are
`rules`' knowledge. YAML and JSON are others' knowledge.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from ringyard_api.about import LONGEST_QUANTITY, LONGEST_TEXT, MOST_ITEMS, About, Bounds
from ringyard_api.fields import FieldOf, fields_of, is_literal, is_union, item_of, unwrap, value_of
from ringyard_api.problems import Problem
from ringyard_api.trainingjob import PREPROCESS_STEPS, PreprocessStep

NOTHING: Any = object()  # a value that could not be made; its problem is told
STEP_SAYS = "must be a mapping with one key, the step's name, such as {standardize: {}}"
_SHOWN = 60


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return lower[close[0]] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?`, or which names there are."""
    names = list(known)
    meant = nearest(name, names)
    return f", did you mean {meant}?" if meant else f": there are {', '.join(names)}"


def below(path: str, name: str) -> str:
    """Path of a field of what stands at `path`."""
    return f"{path}.{name}" if path else name


def encode(value: Any) -> Any:
    """Our dataclasses as plain data with YAML's names; None and what is empty is left out."""
    if isinstance(value, PreprocessStep):
        return {value.name: {name: encode(each) for name, each in value.args.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, encode(getattr(value, field.attribute))) for field in fields_of(type(value)))
        return {name: plain for name, plain in pairs if not _empty(plain)}
    if isinstance(value, Mapping):
        return {str(name): encode(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value  # a StrEnum's member as a text that any writer knows


def _empty(plain: Any) -> bool:
    return plain is None or plain == "" or (isinstance(plain, (dict, list)) and not plain)


class Decoder:
    """Reads one object.

    Attributes:
        problems: what was wrong, in the order of the file's fields.
        unsound: paths whose values are not what the user meant: of the problems, and of fields that were misspelt.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unsound: list[str] = []

    def wrong(self, path: str, message: str) -> Any:
        """Notes a problem; the answer stands for the value that could not be made."""
        self.problems.append(Problem(path=path, message=message))
        self.unsound.append(path)
        return NOTHING

    def instance(self, kind: type[Any], data: Any, path: str) -> Any:
        """An instance of the dataclass `kind`, or NOTHING where a required field is missing or wrong.

        A field that is wrong and has a default is given it, so that the rules between the others still speak.
        """
        if kind is PreprocessStep:
            return self._step(data, path)
        if not isinstance(data, Mapping):
            return self.wrong(path, f"must be a mapping, got {shown(data)}")
        fields = fields_of(kind)
        known = {field.name: field for field in fields}
        values: dict[str, Any] = {}
        for name, plain in data.items():
            if name not in known:
                self.wrong(below(path, str(name)), f"unknown field{hint(str(name), known)}")
                self.unsound.append(below(path, nearest(str(name), known) or str(name)))
            elif plain is not None:
                values[known[name].attribute] = self.value(known[name], plain, below(path, name))
        missing = [field for field in fields if field.required and field.attribute not in values]
        for field in missing:
            self.wrong(below(path, field.name), f"is missing: {_first_lower(field.about.says or 'it must be given')}")
        if missing or any(field.required and values[field.attribute] is NOTHING for field in fields):
            return NOTHING
        return kind(**{name: value for name, value in values.items() if value is not NOTHING})

    def value(self, field: FieldOf, plain: Any, path: str) -> Any:
        """One field's value, or NOTHING where it is not sound."""
        return self._typed(field.type, field.about, plain, path)

    def _typed(self, kind: Any, about: About, plain: Any, path: str) -> Any:
        item, value = item_of(kind), value_of(kind)
        if item is not None:
            return self._list(item, about, plain, path)
        if value is not None:
            return self._mapping(value, about.bounds, plain, path)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.instance(kind, plain, path)
        if is_literal(kind):
            return self._choice(get_args(kind), plain, path)
        if kind is Any:
            return plain if _finite(plain) else self.wrong(path, "must hold finite numbers only")
        if is_union(kind):
            if not isinstance(plain, bool) and isinstance(plain, get_args(kind)) and _finite(plain):
                problem = _length(Bounds(), len(str(plain)), "characters", LONGEST_QUANTITY)
                return self.wrong(path, problem) if problem else plain
            remedy = ": write it in quotes" if isinstance(plain, float) else ""
            return self.wrong(path, f"must be a text or an integer, got {shown(plain)}{remedy}")
        return self._scalar(kind, about.bounds, plain, path)

    def _list(self, item: Any, about: About, plain: Any, path: str) -> Any:
        if not isinstance(plain, (list, tuple)):
            return self.wrong(path, f"must be a list, got {shown(plain)}")
        if problem := _length(about.bounds, len(plain), "items", MOST_ITEMS):
            return self.wrong(path, problem)
        kind, of_item, _ = unwrap(item)
        made = [self._typed(kind, of_item, each, f"{path}[{at}]") for at, each in enumerate(plain)]
        if about.unique:
            for at, each in enumerate(made):
                if each is not NOTHING and each in made[:at]:
                    return self.wrong(f"{path}[{at}]", f"{shown(each)} stands there twice: keep one of them")
        for name in about.merge_key:
            keys = [getattr(each, name) for each in made if each is not NOTHING]
            for at, key in enumerate(keys):
                if key in keys[:at]:
                    return self.wrong(f"{path}[{at}].{name}", f"{shown(key)} stands there twice: keep one of them")
        return NOTHING if any(each is NOTHING for each in made) else tuple(made)

    def _mapping(self, value: Any, bounds: Bounds, plain: Any, path: str) -> Any:
        if not isinstance(plain, Mapping):
            return self.wrong(path, f"must be a mapping, got {shown(plain)}")
        if bounds.longest is not None and len(plain) > bounds.longest:
            return self.wrong(path, f"must have at most {bounds.longest} entries, got {len(plain)}")
        kind, about, _ = unwrap(value)
        made = {str(name): self._typed(kind, about, each, below(path, str(name))) for name, each in plain.items()}
        return NOTHING if any(each is NOTHING for each in made.values()) else made

    def _choice(self, words: tuple[str, ...], plain: Any, path: str) -> Any:
        if isinstance(plain, str) and plain in words:
            return plain
        meant = nearest(plain, words) if isinstance(plain, str) else None
        remedy = f", did you mean {meant}?" if meant else ""
        must = f"must be {words[0]}" if len(words) == 1 else f"must be one of {', '.join(words)}"
        return self.wrong(path, f"{must}, got {shown(plain)}{remedy}")

    def _scalar(self, kind: Any, bounds: Bounds, plain: Any, path: str) -> Any:
        problem = ""
        if kind is bool and not isinstance(plain, bool):
            problem = f"must be true or false, got {shown(plain)}"
        elif kind is int and (isinstance(plain, bool) or not isinstance(plain, int)):
            problem = f"must be an integer, got {shown(plain)}"
        elif kind is float and (isinstance(plain, bool) or not isinstance(plain, (int, float)) or not _finite(plain)):
            problem = f"must be a finite number, got {shown(plain)}"
        elif kind is str and not isinstance(plain, str):
            remedy = ": write it in quotes" if isinstance(plain, (int, float)) else ""
            problem = f"must be a text, got {shown(plain)}{remedy}"
        if problem:
            return self.wrong(path, problem)
        problem = _text(bounds, plain) if kind is str else "" if kind is bool else _number(bounds, plain)
        if problem:
            return self.wrong(path, problem)
        return float(plain) if kind is float else plain

    def _step(self, data: Any, path: str) -> Any:
        if not isinstance(data, Mapping) or len(data) != 1:
            return self.wrong(
                path,
                f"{STEP_SAYS}, got {shown(data)}",
            )
        ((name, plain),) = data.items()
        if name not in PREPROCESS_STEPS:
            return self.wrong(below(path, str(name)), f"unknown step{hint(str(name), PREPROCESS_STEPS)}")
        args = self.instance(PREPROCESS_STEPS[name], {} if plain is None else plain, below(path, name))
        return NOTHING if args is NOTHING else PreprocessStep(name=name, args=encode(args))


def shown(plain: Any) -> str:
    """A value as a user would recognise it."""
    if isinstance(plain, Mapping):
        return "a mapping"
    if isinstance(plain, (list, tuple)):
        return "a list"
    if plain is None:
        return "nothing"
    text = str(plain).lower() if isinstance(plain, bool) else repr(plain)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _first_lower(says: str) -> str:
    return says[:1].lower() + says[1:].removesuffix(".")


def _finite(plain: Any) -> bool:
    if isinstance(plain, Mapping):
        return all(_finite(each) for each in plain.values())
    if isinstance(plain, (list, tuple)):
        return all(_finite(each) for each in plain)
    if isinstance(plain, int):
        return -(2**63) <= plain < 2**63
    return not isinstance(plain, float) or math.isfinite(plain)


def _length(bounds: Bounds, length: int, unit: str, longest: int) -> str:
    most = longest if bounds.longest is None else bounds.longest
    if length < bounds.shortest:
        return f"must have at least {bounds.shortest} {unit}, got {length}" if length else "must not be empty"
    return f"must have at most {most} {unit}, got {length}" if length > most else ""


def _text(bounds: Bounds, text: str) -> str:
    if bounds.pattern_says and not re.search(bounds.pattern.replace("$", r"\Z"), text):
        return f"{bounds.pattern_says}, got {shown(text)}"
    return _length(bounds, len(text), "characters", LONGEST_TEXT)


def _number(bounds: Bounds, number: float) -> str:
    said = f"got {number:g}" if isinstance(number, float) else f"got {number}"
    if bounds.at_least is not None and number < bounds.at_least:
        return f"must be at least {bounds.at_least:.12g}, {said}"
    if bounds.above is not None and number <= bounds.above:
        return f"must be greater than {bounds.above:.12g}, {said}"
    if bounds.at_most is not None and number > bounds.at_most:
        return f"must be at most {bounds.at_most:.12g}, {said}"
    if bounds.below is not None and number >= bounds.below:
        return f"must be less than {bounds.below:.12g}, {said}"
    return f"must fit 64 bits, {said}" if isinstance(number, int) and not _finite(number) else ""
