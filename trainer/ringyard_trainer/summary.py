"""The run's report for people and for programs: report.json and report.md.

Called by `finish`. It only words what others computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringyard_trainer import checkpoint


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes both files; `facts` has name, metrics, part, gate, history, curve and counts."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.replace(folder / "report.json", (json.dumps(facts, indent=1) + "\n").encode())
    checkpoint.replace(folder / "report.md", _words(facts).encode())


def _words(facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts['job']}", "", f"{facts['step']} steps, {facts['epochs']} epochs.", ""]
    if facts["stoppedEarly"]:
        lines += [f"Stopped early; the model is that of step {facts['modelStep']}.", ""]
    if facts["metrics"]:
        lines += [f"## Quality on the {facts['part']} part", "", "| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in facts["metrics"].items()] + [""]
    if facts["gate"]:
        lines += [f"Gate: {facts['gate']['message']}", ""]
    if facts["history"]:
        names = list(facts["history"][-1])
        lines += ["## Epochs", "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        lines += [f"| {' | '.join(f'{entry[name]:.6g}' for name in names)} |" for entry in facts["history"]]
    return "\n".join(lines) + "\n"
