"""`ringyard run --set path=value`: edits of a manifest's plain data before it is checked.

Pure: `run` calls it between reading the YAML and loading it strictly, so that an unknown path is answered by the
loader's own sentence, with the nearest known name. It knows no field.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ringyard_operator.cli.exits import BadInput

ROOTS = ("apiVersion", "kind", "metadata", "spec", "status")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def apply(manifest: Mapping[str, Any], settings: Sequence[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """A copy of `manifest` with each `path=value` set, in order; `read` turns a value's text into YAML's type.

    A path that begins with none of `ROOTS` is meant below `spec`: `fit.epochs=3`. `[0]` (or `.0`) is an item of a
    list; the index one past the end appends. Mappings that are missing on the way are made. Raises `BadInput`.
    """
    edited: dict[str, Any] = copy.deepcopy(dict(manifest))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise BadInput(f"--set {setting}: must be path=value, such as --set spec.fit.epochs=3")
        _put(edited, _steps(path.strip(), setting), read(text), setting)
    return edited


def _steps(path: str, setting: str) -> list[str | int]:
    found = list(_STEP.finditer(path))
    spelled = "".join(match.group(0) for match in found)
    if not found or spelled != path.replace(".", ""):
        raise BadInput(f"--set {setting}: {path!r} is no path: write names with dots, items of a list as [0]")
    steps: list[str | int] = [int(match.group(2)) if match.group(2) else match.group(1) for match in found]
    return steps if steps[0] in ROOTS else ["spec", *steps]


def _put(target: Any, steps: Sequence[str | int], value: Any, setting: str) -> None:
    for at, step in enumerate(steps):
        last = at == len(steps) - 1
        if isinstance(target, list):
            index = _index(step, len(target), setting)
            if index == len(target):
                target.append({})
            if last:
                target[index] = value
            target = target[index]
        elif isinstance(target, dict) and isinstance(step, str):
            if last:
                target[step] = value
            elif not isinstance(target.get(step), dict | list):
                target[step] = [] if _is_index(steps[at + 1]) else {}
            target = target[step]
        else:
            raise BadInput(f"--set {setting}: {step!r} cannot be set, what holds it is neither a mapping nor a list")


def _is_index(step: str | int) -> bool:
    return isinstance(step, int) or step.isdigit()


def _index(step: str | int, length: int, setting: str) -> int:
    if not _is_index(step):
        raise BadInput(f"--set {setting}: {step!r} names an item of a list, write its number, such as [0]")
    if int(step) > length:
        raise BadInput(f"--set {setting}: the list has {length} items, so [{step}] cannot be set")
    return int(step)
