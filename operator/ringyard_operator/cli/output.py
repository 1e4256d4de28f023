"""How answers are printed: JSON, YAML, or columns for a human. Called by every command that shows something.

JSON and YAML carry the very object that Kubernetes would show. Nothing here knows what a job is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

FORMATS = ("json", "yaml")


def render(value: Any, form: str) -> str:
    """Plain data as text in one of `FORMATS`, ending with a line feed. The order of keys is kept."""
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False))


def emit(value: Any, form: str) -> None:
    """Prints plain data to stdout in one of `FORMATS`."""
    click.echo(render(value, form), nl=False)


def listing(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several objects as one, the way `kubectl get -o json` answers."""
    return {"apiVersion": "v1", "kind": "List", "items": [dict(item) for item in items]}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with two blanks between them, kubectl's way; empty cells are shown as `-`. Every line ends with a line
    feed.
    """
    cells = [list(head)] + [[cell or "-" for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "".join(f"{line}\n" for line in lines)


def span(seconds: float | None) -> str:
    """A duration as kubectl prints an age: `42s`, `3m10s`, `2h5m`, `4d3h`; empty if unknown."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    big, size, small, part = ("m", 60, "s", 1) if whole < 3600 else ("h", 3600, "m", 60)
    if whole >= 86400:
        big, size, small, part = "d", 86400, "h", 3600
    rest = whole % size // part
    return f"{whole // size}{big}{rest}{small}" if rest else f"{whole // size}{big}"


def interactive() -> bool:
    """Whether stdout is a terminal, so that a line may be drawn again."""
    return sys.stdout.isatty()
