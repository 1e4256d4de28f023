"""`make demo`: trains digits on three workers, kills one in mid-run, serves the model, asks it through Triton's client.

It drives the command line as a user would and reads only what is documented (ARCHITECTURE.md, Local mode's state).
It ends clean or says what is left: no process, no port, no temporary file. Exit 0 only if all of it went well.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "examples" / "digits.yaml"
RINGYARD = [str(Path(sys.executable).parent / "ringyard")]
PATIENCE = 300.0  # seconds for any one thing to happen
VICTIM = 1
EPOCHS = 240  # more than digits needs, so that the worker that is killed has time to come back and take part again


class Trouble(Exception):
    """The demo cannot go on, in one sentence."""


class Demo:
    """One run in a state folder of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.begun = time.monotonic()
        self.history: list[tuple[float, str]] = []
        self.seen: dict[str, str] = {}
        self.step = 0
        self.port = 0

    # -- words --------------------------------------------------------------------------------------------------------
    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:5.1f} s] {text}", flush=True)

    def ringyard(self, *words: str) -> str:
        """Runs a command, shows it, and gives its output back."""
        self.say(f"$ ringyard {' '.join(words)}")
        done = subprocess.run(
            [*RINGYARD, *words, "--state-dir", str(self.state)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise Trouble(f"ringyard {words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # -- what the job says --------------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        """The job's status as it stands; notes each condition that changed."""
        try:
            status: dict[str, Any] = json.loads((self.state / "jobs" / "digits" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        for one in status.get("conditions", []):
            state = f"{one['type']}={one['status']} {one.get('reason', '')}"
            if self.seen.get(one["type"]) != state:
                self.seen[one["type"]] = state
                self.history.append((time.monotonic() - self.begun, f"{state}: {one.get('message', '')}"))
        if status.get("step", 0) < self.step:
            raise Trouble(f"steps were lost: step {self.step}, then step {status['step']}")
        self.step = status.get("step", 0)
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        found = [one for one in self.status().get("conditions", []) if one["type"] == kind]
        return found[0] if found else {}

    def ended(self) -> bool:
        """Whether the job has succeeded; a failed one is trouble."""
        if self.condition("Succeeded").get("status") == "False" or self.condition("Failed").get("status") == "True":
            raise Trouble(self.condition("Succeeded").get("message") or self.condition("Failed").get("message", ""))
        return self.condition("Succeeded").get("status") == "True"

    def until(self, what: str, true: Any) -> Any:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            if found := true():
                return found
            time.sleep(0.02)
        raise Trouble(f"waited {PATIENCE:.0f} s in vain for {what}")

    def training_process(self, index: int) -> int:
        """Pid of a worker's training process, from the record of its newest attempt; 0 while there is none."""
        records = sorted(
            (self.state / "jobs" / "digits" / "workers" / str(index)).glob("agent-*.json"),
            key=lambda path: int(path.stem.rpartition("-")[2]),
        )
        return int(json.loads(records[-1].read_text()).get("child_pid", 0)) if records else 0

    # -- the acts -----------------------------------------------------------------------------------------------------
    def train(self) -> None:
        """Submits, kills one worker in mid-run, and waits for the end."""
        self.say("Three workers train a classifier of handwritten digits; each step is one AllReduce over gRPC.")
        print(
            self.ringyard("run", str(MANIFEST.relative_to(ROOT)), "--set", f"fit.epochs={EPOCHS}", "--detach").strip()
        )
        early = self.until("the first steps", lambda: (s := self.status()).get("step", 0) >= 1 and s)
        first = time.monotonic() - self.begun
        self.say(f"training {first:.1f} s after `run`: {progress(early)}")
        self.until("some hundred steps", lambda: self.status().get("step", 0) >= 300)
        pid = self.until(f"a process of worker {VICTIM}", lambda: self.training_process(VICTIM))
        os.kill(pid, signal.SIGKILL)
        self.say(
            f"kill -9 {pid}: that was worker {VICTIM}. The others redo the step they were in and go on; it comes back."
        )
        told = -1
        while not self.ended():
            status = self.status()
            if status.get("step", 0) // 500 > told:
                told = status.get("step", 0) // 500
                self.say(progress(status))
            if time.monotonic() - self.begun > PATIENCE:
                raise Trouble(f"the job has not ended after {PATIENCE:.0f} s")
            time.sleep(0.05)
        self.ringyard("wait", "digits", "--for", "Succeeded", "--timeout", "60")
        status = self.status()
        print("\nHow its conditions went:")
        for at, text in self.history:
            print(f"  {at:6.1f} s  {text}")
        restarts = status.get("restarts", {})
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in status["model"].get("metrics", {}).items())
        print(f"\nSteps: {status['step']} of {status['totalSteps']}, and never one back.")
        print(f"Failures counted: {restarts.get('counted', 0)}.")
        print(f"On images that it never saw: {metrics}.\n")

    def ask(self) -> None:
        """Lets a Triton client that we did not write ask the server."""
        listed = json.loads(self.ringyard("endpoints", "-o", "json"))
        url = listed["items"][0]["status"]["url"].removeprefix("grpc://")
        self.say(f"tritonclient (a process of its own) asks {url}")
        done = subprocess.run([sys.executable, str(ROOT / "hack" / "ask_digits.py"), url], timeout=PATIENCE)
        if done.returncode:
            raise Trouble("the Triton client was not content with the answers")
        self.port = int(url.rpartition(":")[2])

    def tidy(self) -> None:
        """Removes endpoint and job, and looks whether anything is left."""
        self.ringyard("endpoint", "delete", "digits")
        self.ringyard("delete", "digits")
        limit = time.monotonic() + 15
        while (left := list(self.processes())) and time.monotonic() < limit:
            time.sleep(0.1)
        if left:
            raise Trouble(f"processes are left: {left}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise Trouble(f"port {self.port} is still open")

    # -- processes ----------------------------------------------------------------------------------------------------
    def processes(self) -> Iterator[int]:
        """Pids that name the state folder in their command line or environment."""
        mark = str(self.state).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes():
                        yield int(entry.name)

    def end_all(self) -> None:
        """After trouble: leaves no process behind."""
        for _ in range(3):
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def tell_logs(self) -> None:
        """After trouble: the last words of supervisor, workers and server."""
        for log in sorted(self.state.rglob("*log")):
            if log.is_file():
                print(f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:]), file=sys.stderr)


def progress(status: dict[str, Any]) -> str:
    """One line of progress."""
    loss = status.get("loss")
    workers = status.get("workers", {}).get("summary", "?")
    return f"step {status.get('step', 0)} of {status.get('totalSteps', '?')}, workers {workers}" + (
        f", loss {loss:.3f}" if isinstance(loss, int | float) else ""
    )


def install_seconds() -> str:
    """What `make venv` noted."""
    with contextlib.suppress(OSError):
        if noted := (ROOT / ".venv" / ".ready").read_text().strip():
            return f"{noted} s"
    return "not by make"


def main() -> int:
    """The whole demo. 0: all went well; 1: it did not, and the reason is told; 130: interrupted."""
    folder = Path(tempfile.mkdtemp(prefix="ringyard-demo-"))
    demo = Demo(folder / "state")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo.train()
        trained = time.monotonic()
        demo.ask()
        served = time.monotonic()
        demo.tidy()
        print(
            f"\ninstall {install_seconds()} (once), submit to published {trained - demo.begun:.1f} s, "
            f"serve and ask {served - trained:.1f} s, clean up {time.monotonic() - served:.1f} s"
        )
    except (Trouble, subprocess.TimeoutExpired) as error:
        print(f"ringyard demo: {error}", file=sys.stderr)
        demo.tell_logs()
        return 1
    except KeyboardInterrupt:
        print("ringyard demo: interrupted", file=sys.stderr)
        return 130
    finally:
        demo.end_all()
        shutil.rmtree(folder, ignore_errors=True)
    print("Nothing is left: no process, no port, no file.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
