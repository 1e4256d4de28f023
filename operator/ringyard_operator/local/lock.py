"""One holder at a time: a flock with the holder's pid inside, released by the kernel however the holder ends.

Called by the state folders. A lock file is never deleted while its folder lives, for then two could hold "it".
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ringyard_operator.local.disk import refusals

_PROBE_SECONDS = 0.5  # `holder` takes a shared lock for microseconds: a taker outwaits it


class Held(Exception):
    """Somebody else holds the lock. `pid` is 0 where it has not written its own yet."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


class Lock:
    """A held lock. Closing it, or the end of the process, gives it back. Children do not inherit it."""

    def __init__(self, path: Path, *, wait_seconds: float = _PROBE_SECONDS) -> None:
        """Takes the lock; raises Held after `wait_seconds`, StateUnusable where the folder refuses."""
        self.path = path
        deadline = time.monotonic() + wait_seconds
        with refusals("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._handle)
                    raise Held(_pid_in(path)) from None
                time.sleep(0.02)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Gives it back; a second call does nothing."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def holder(path: Path) -> int | None:
    """Pid of the living holder (0 where it has not said so yet), or None where nobody holds the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(path)
    finally:
        os.close(handle)
    return None


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text().strip() or 0)
    except (OSError, ValueError):
        return 0
