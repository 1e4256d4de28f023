"""A laptop with Ringyard on it: a state folder of its own and the real command line, for the end-to-end tests.

Every test drives `ringyard` as a user would (a subprocess) and looks at what it left on disk and in /proc. On exit the
laptop is switched off: whatever the test left running is ended by pid, and what was left is told to the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RINGYARD = [str(Path(sys.executable).with_name("ringyard"))]
PATIENCE = 150.0  # seconds until a wait is given up: a hang is a failure, its length is nobody's promise


class Laptop:
    """One state folder, the commands run against it, and the processes that they left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.started: list[subprocess.Popen[str]] = []

    # -- commands -----------------------------------------------------------------------------------------------------
    def environment(self) -> dict[str, str]:
        """What the commands see: few threads, and nothing of the user's own state."""
        return {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(self.folder / "xdg"), "COLUMNS": "160"}

    def ringyard(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `ringyard WORDS --state-dir …` to its end."""
        return subprocess.run(
            [*RINGYARD, *words, *self.state_option(words)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self.environment(),
            cwd=self.folder,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts `ringyard WORDS` and lets it run; its output goes to `out.log` in the laptop's folder."""
        with (self.folder / "out.log").open("a") as log:
            process = subprocess.Popen(
                [*RINGYARD, *words, *self.state_option(words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env=self.environment(),
                cwd=self.folder,
            )
        self.started.append(process)
        return process

    def state_option(self, words: tuple[str, ...]) -> list[str]:
        return [] if words and words[0] == "validate" else ["--state-dir", str(self.state)]

    def output(self) -> str:
        path = self.folder / "out.log"
        return path.read_text() if path.exists() else ""

    # -- what is on disk ----------------------------------------------------------------------------------------------
    def job(self, name: str) -> Path:
        return self.state / "jobs" / name

    def status(self, name: str) -> dict[str, Any]:
        """`status.json` as it stands; {} before the first."""
        try:
            found: dict[str, Any] = json.loads((self.job(name) / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        for one in self.status(name).get("conditions", []):
            if one["type"] == kind:
                return dict(one)
        return {}

    def agent(self, name: str, index: int) -> dict[str, Any]:
        """The record of the newest incarnation of a worker; {} before the first."""
        folder = self.job(name) / "workers" / str(index)
        records = [json.loads(path.read_text()) for path in folder.glob("agent-*.json")]
        return dict(max(records, key=lambda record: record["attempt"], default={}))

    def log(self, name: str, index: int) -> str:
        path = self.job(name) / "workers" / str(index) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run_dir(self, name: str) -> Path:
        """The run's own folder below the job's storage."""
        (only,) = (self.job(name) / "storage").glob(f"{name}-*")
        return only

    # -- waiting ------------------------------------------------------------------------------------------------------
    def until(self, what: str, true: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Polls until `true()` is truthy and returns it; fails with what was awaited and what the job said last."""
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            if found := true():
                return found
            time.sleep(0.02)
        raise AssertionError(f"waited in vain for: {what}\n{self.story()}")

    def story(self) -> str:
        """What a person would look at after a failure."""
        files = [*sorted(self.state.glob("jobs/*/status.json")), *sorted(self.state.glob("jobs/*/workers/*/log"))]
        return "\n".join([self.output()[-3000:], *(f"{f}: {f.read_text(errors='replace')[-3000:]}" for f in files)])

    def until_step(self, name: str, step: int) -> int:
        """Waits until the job has done `step` steps; answers with the step it is at."""
        return int(self.until(f"step {step} of {name}", lambda: self.step(name) >= step and self.step(name)))

    def step(self, name: str) -> int:
        return int(self.status(name).get("step") or 0)

    def ready(self, name: str) -> int:
        """Workers in the view."""
        return int(self.status(name).get("workers", {}).get("ready", 0))

    # -- processes ----------------------------------------------------------------------------------------------------
    def processes(self) -> dict[int, str]:
        """Living processes that name this laptop's state folder in their command line or environment."""
        mark = str(self.state).encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z" and (mark in command or mark in environment):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def switch_off(self) -> None:
        """Ends what still runs of this laptop, by pid."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for _ in range(3):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


@contextlib.contextmanager
def laptop(folder: Path) -> Iterator[Laptop]:
    """A laptop in `folder`, switched off at the end."""
    machine = Laptop(folder)
    try:
        yield machine
    finally:
        machine.switch_off()
