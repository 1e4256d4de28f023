"""result.json: the one file that says that a run is over, written last.

`finish` writes it, the shells and the coordinator read it. Its shape is the operator's contract (`ringyard_operator`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ringyard_api.launch import RESULT_JSON

from ringyard_trainer import checkpoint


def read(run_dir: Path) -> str | None:
    """The result's JSON text, None while it does not stand."""
    try:
        text = (run_dir / RESULT_JSON).read_text()
        json.loads(text)
    except (OSError, ValueError):
        return None
    return text


def write(run_dir: Path, facts: dict[str, Any]) -> str:
    """Writes it and returns its text."""
    text = json.dumps(facts, indent=1) + "\n"
    checkpoint.replace(run_dir / RESULT_JSON, text.encode())
    return text
