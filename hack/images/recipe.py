"""Reads from the Dockerfile what an image is told beside its files (ENV, USER, ENTRYPOINT, labels): it stands in one
place.

`fast.py` asks. It understands just the forms that our Dockerfile has.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

_WORDS = re.compile(r"^(FROM|ARG|ENV|LABEL|USER|WORKDIR|ENTRYPOINT|CMD)\s+(.*)$")


def config_of(dockerfile: Path, target: str, values: Mapping[str, str]) -> dict[str, object]:
    """The target's configuration, with that of the stages it stands on; `values` are build arguments."""
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    lines: list[tuple[str, str]] = []
    for line in dockerfile.read_text().splitlines():
        found = _WORDS.match(line)
        if found is None:
            continue
        word, rest = found.groups()
        if word == "FROM":
            below, _, name = rest.partition(" AS ")
            lines = []
            stages[name] = (below, lines)
        else:
            lines.append((word, rest))
    config: dict[str, object] = {}
    for below in reversed(_floors(stages, target)):
        _apply(config, stages[below][1], values)
    return config


def _floors(stages: Mapping[str, tuple[str, list[tuple[str, str]]]], target: str) -> list[str]:
    floors = []
    while target in stages:
        floors.append(target)
        target = stages[target][0]
    return floors


def _apply(config: dict[str, object], lines: list[tuple[str, str]], values: Mapping[str, str]) -> None:
    known: dict[str, str] = {}
    for word, rest in lines:
        if word == "ARG":
            name, _, default = rest.partition("=")
            known[name] = values.get(name, default)
        elif word in ("ENTRYPOINT", "CMD"):
            config[word.capitalize()] = json.loads(rest)
        elif word == "USER":
            config["User"] = rest
        elif word == "WORKDIR":
            config["WorkingDir"] = rest
        else:
            said = re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], rest)
            pairs = dict(pair.partition("=")[::2] for pair in shlex.split(said))
            if word == "LABEL":
                config["Labels"] = {**config.get("Labels", {}), **pairs}
            else:
                config["Env"] = [*config.get("Env", []), *(f"{name}={value}" for name, value in pairs.items())]
