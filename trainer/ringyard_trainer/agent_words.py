"""What a worker leaves behind when it ends: a script's result, and the last words that a Pod's status keeps.

Called by `agent` only. On a cluster the coordinator may be away when a worker ends, or never have heard of it; the
termination message tells the next one. It knows no coordinator and decides nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringyard_api import artifact, launch

LONGEST = 4096  # bytes: the kubelet keeps no more of a termination message


def script_result(environment: Mapping[str, str]) -> dict[str, Any]:
    """What a script that ended with 0 has left in its model folder, in the shape of result.json."""
    folder = Path(environment[launch.MODEL_DIR])
    try:
        manifest = (folder / artifact.MODEL_JSON).read_bytes()
    except OSError:
        manifest = None
    return artifact.script_result(manifest, launch.model_uri(environment, folder.resolve().as_uri()))


def fit_result(run_dir: str) -> dict[str, Any] | None:
    """The standing result of a declared fit; None where this worker cannot see one."""
    try:
        result = json.loads((Path(run_dir) / launch.RESULT_JSON).read_bytes())
    except (OSError, ValueError):
        return None
    return {name: result.get(name) for name in ("metrics", "gate", "model")} if isinstance(result, dict) else None


def of_result(result: Mapping[str, Any]) -> str:
    """A result as last words. If it is too long only the metrics of the gate are kept, and if even those are, nothing
    is said: half a result would be judged as a bad one.
    """
    gate = result.get("gate") or {}
    judged = {check.get("metric") for check in gate.get("checks") or ()}
    short = {name: value for name, value in (result.get("metrics") or {}).items() if name in judged}
    for metrics in (result.get("metrics"), short):
        text = json.dumps({**result, "metrics": metrics}, separators=(",", ":"))
        if len(text.encode()) <= LONGEST:
            return text
    return ""


def of_failure(lines: Sequence[str]) -> str:
    """The training process's own last lines. Without any, Kubernetes takes those of the log, which end with ours."""
    return "\n".join(lines).encode()[-LONGEST:].decode("utf-8", "ignore")


def leave(words: str, environment: Mapping[str, str]) -> None:
    """Writes them where the shell wants them; locally nobody does."""
    path = environment.get(launch.TERMINATION_FILE)
    if path and words:
        with contextlib.suppress(OSError):
            Path(path).write_text(words)
