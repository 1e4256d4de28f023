"""Files that are whole or not there: atomic replacement, and what a refusal of the disk is called.

Called by the rooms of `local` only. It knows bytes and paths, nothing of jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ringyard_operator.errors import StateUnusable


@contextlib.contextmanager
def refusals(verb: str, path: Path) -> Iterator[None]:
    """Turns an OSError of the state folder into one sentence. `verb` is what was tried: "read", "write"."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise StateUnusable(
            f"cannot {verb} the state folder: {where}: {error.strerror}; "
            "make it writable or choose another with --state-dir"
        ) from error


def replace(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Writes a whole file or none: temporary file beside it, fsync, rename, fsync of the folder. Raises
    StateUnusable.
    """
    with refusals("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise
        _sync_folder(path.parent)


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """As `replace`, with plain data as indented JSON, so that a person can read the state."""
    replace(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Plain data, or None where there is no such file. Raises StateUnusable where it is not readable JSON."""
    with refusals("read", path):
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise StateUnusable(f"{path} is not JSON ({error}): delete the job or the file") from error
    if not isinstance(data, dict):
        raise StateUnusable(f"{path} does not hold a JSON object: delete the job or the file")
    return data


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
