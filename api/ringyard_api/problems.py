"""What is wrong with a manifest, as sentences with a path: all problems of a file travel together.

`loading` and `validation` make them, the CLI prints them. It knows no field and no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: of the field, as `spec.fit.lr` or `spec.evaluate.gate[0]`; empty for the file as a whole.
        message: what is wrong and what to do, to follow the path and a colon.
        line, column: 1-based, where the YAML itself is broken.
    """

    path: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.line is not None else ""
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ManifestError(ValueError):
    """A manifest that is refused. Its text has one line for each problem: `FILE: path: message`."""

    def __init__(self, problems: Sequence[Problem], source: str = "<stdin>") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))
