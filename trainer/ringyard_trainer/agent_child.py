"""The training process as its agent sees it: start, signal, reap, and the last lines of what it said.

Called by `agent` only. Output goes through the agent to its own stdout, so that it is the worker's log in a Pod and
locally. The process leads a group of its own and dies with the agent (see `agent_exec`). It decides nothing and
knows no coordinator.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

LAST_LINES = 5
_LONGEST_LINE = 500  # characters of a line that go into a report
_DRAIN_SECONDS = 1.0


class Child:
    """One training process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
        """Starts it. A missing `folder` is an OSError; a missing program is exit 127 with a sentence in the log."""
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("agent_exec.py")), str(os.getpid())]
        self._oom_before = oom_kills()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            process_group=0,
        )
        self._pump = threading.Thread(target=self._copy_output, name="ringyard-log", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Process id, which is its group's too."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs, else 0 to 255 (128 + signal). What its group left behind is killed and the log is
        drained.
        """
        code = self._process.poll()
        if code is None:
            return None
        self._signal_group(signal.SIGKILL)
        self._pump.join(_DRAIN_SECONDS)
        return code if code >= 0 else 128 - code

    def out_of_memory(self) -> bool:
        """Whether SIGKILL ended it and the kernel's out-of-memory killer struck in our memory cgroup since its
        start.
        """
        return self._process.returncode == -signal.SIGKILL and oom_kills() > self._oom_before

    def terminate(self) -> None:
        """SIGTERM to the process alone: its helpers are its own business."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self._process.poll() is None:
            self._signal_group(signal.SIGKILL)

    def last_lines(self) -> tuple[str, ...]:
        """The newest lines of its output."""
        return tuple(self._lines)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _copy_output(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        rest = b""
        while data := os.read(stream.fileno(), 65536):
            with contextlib.suppress(OSError):  # a full disk must not stop the training
                os.write(1, data)
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                self._keep(line)
            rest = rest[-4 * _LONGEST_LINE :]
        self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._lines.append(text[-_LONGEST_LINE:])


def reap_orphans(child: Child | None) -> None:
    """As PID 1 of a container we inherit whatever the training process leaves behind: it is reaped here.

    The child's own status stays for `Child.exit_code`.
    """
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if child is not None and ended.si_pid == child.pid:
                return
            os.waitpid(ended.si_pid, 0)


def oom_kills() -> int:
    """Kills by the out-of-memory killer in our memory cgroup so far; 0 where there is none to read."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":  # v1; a container sees its own group as the root
                places = [f"/sys/fs/cgroup/memory{path}/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
            elif not controllers:
                places = [f"/sys/fs/cgroup{path}/memory.events"]
            else:
                continue
            for place in places:
                if (count := _oom_count(Path(place))) is not None:
                    return count
    return 0


def _oom_count(path: Path) -> int | None:
    """The count in a file of lines `name number`; None where it has none."""
    try:
        counts = dict(entry.split() for entry in path.read_text().splitlines())
    except OSError:
        return None
    return int(counts["oom_kill"]) if "oom_kill" in counts else None


def start_ticks(pid: int) -> int:
    """Start time of a process, in clock ticks since boot (proc(5), stat field 22)."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[19])
