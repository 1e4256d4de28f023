"""Processes as /proc shows them: identity that outlives pid reuse, sessions, signals that never hit a stranger.

Called by `processes` and `endpoint`. It reads /proc (proc(5)) and sends signals; it knows no worker and no server.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One process for ever: pid, start time in ticks since boot, and the boot."""

    pid: int
    start_ticks: int
    boot: str

    def alive(self) -> bool:
        """Whether this very process exists and is no zombie."""
        if self.pid <= 0 or self.boot != boot_id():
            return False
        fields = _stat(self.pid)
        return fields is not None and int(fields[19]) == self.start_ticks and fields[0] not in ("Z", "X")

    def signal(self, number: int) -> bool:
        """Sends a signal to this very process; False where it is gone."""
        if self.pid <= 0:
            return False
        try:
            handle = os.pidfd_open(self.pid)  # from here on the pid cannot be another process's
        except (ProcessLookupError, OSError):
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


def boot_id() -> str:
    """Of the running kernel."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """The process of that pid as it is now, or None."""
    fields = _stat(pid)
    return None if fields is None else Identity(pid=pid, start_ticks=int(fields[19]), boot=boot_id())


def find(variable: str, value: str) -> list[int]:
    """Pids of our own user's processes that carry `variable=value` in their environment, ascending."""
    wanted = f"{variable}={value}".encode()
    return [pid for pid in _pids() if wanted in _environment(pid)]


def kill_session(leader: int, variable: str, value: str) -> int:
    """SIGKILL to every process of a session that carries the mark in its environment; answers how many there were.

    The mark keeps strangers safe should the kernel have given the leader's number to somebody else since.
    """
    killed, wanted = 0, f"{variable}={value}".encode()
    for pid in _pids():
        fields = _stat(pid)
        if fields is None or int(fields[3]) != leader or fields[0] in ("Z", "X") or wanted not in _environment(pid):
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def _pids() -> list[int]:
    return sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third (state) on, or None where there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
