"""Checkpoints in the run's folder: written whole or not at all, checked when read, the older ones kept as a way back.

Called by `loop` and `finish`. One checkpoint is `NAME.safetensors` and, written last, `NAME.json` with its SHA-256. It
takes and gives bytes: what is in them is `state`'s business. It decides nothing about when.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

FINAL = "final"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint that was read and is sound, and what was wrong with newer ones (a sentence each)."""

    name: str
    step: int
    state: bytes
    complaints: tuple[str, ...] = ()


def name_of(step: int) -> str:
    """Name of a checkpoint at a step."""
    return f"step-{step:09d}"


def write(folder: Path, name: str, step: int, state: bytes, keep: int) -> None:
    """Writes a checkpoint and deletes the oldest: with it `keep` are left (0 keeps all; `final` counts for nothing).

    A checkpoint of that name is replaced. A newer one is left alone: it is corrupt, or we are the one that is late. On
    an OSError (disk full) nothing is left behind and the older ones stand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"step": step, "bytes": len(state), "sha256": hashlib.sha256(state).hexdigest()}
    replace(folder / f"{name}.safetensors", state)
    replace(folder / f"{name}.json", (json.dumps(facts) + "\n").encode())
    older = [each for each in _names(folder) if each != FINAL and (name == FINAL or each <= name)]
    rubbish = [folder / f"{old}{suffix}" for old in older[keep:] for suffix in (".json", ".safetensors")]
    rubbish = rubbish if keep > 0 else []
    for left in (*rubbish, *_unfinished(folder)):
        with contextlib.suppress(OSError):
            left.unlink()


def newest(folder: Path) -> Found | None:
    """The newest sound checkpoint, None where there is none at all.

    A corrupt one is passed over and named in `complaints`.
    """
    complaints: list[str] = []
    for name in _names(folder):
        try:
            facts = json.loads((folder / f"{name}.json").read_text())
            state = (folder / f"{name}.safetensors").read_bytes()
            sound = hashlib.sha256(state).hexdigest() == facts["sha256"]
            step = int(facts["step"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            complaints.append(f"checkpoint {name} cannot be read ({error})")
            continue
        if sound:
            return Found(name=name, step=step, state=state, complaints=tuple(complaints))
        complaints.append(f"checkpoint {name} is corrupt (its SHA-256 is not the one written down)")
    return Found(name="", step=0, state=b"", complaints=tuple(complaints)) if complaints else None


def _names(folder: Path) -> list[str]:
    """Newest first; `final` is the newest of all."""
    found = {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set()
    return sorted(found, key=lambda name: (name == FINAL, name), reverse=True)


def _unfinished(folder: Path) -> list[Path]:
    """What writers that were killed have left behind; there is one writer at a time."""
    whole = set(_names(folder))
    return [*folder.glob(".*"), *(path for path in folder.glob("*.safetensors") if path.stem not in whole)]


def replace(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a machine that lost power, sees the old content or the new, nothing between.

    Raises:
        OSError: it could not be written; the old content stands and no temporary file remains.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
