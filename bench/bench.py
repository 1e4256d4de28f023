"""`make bench`: the figures of DECISIONS.md, on this machine, now. Prints a table, keeps bench/results/TIME.json.

It drives the command line and looks at /proc. Ours and the peer's step times are taken in turns, so that both meet
the same noise; what counts is the ratio. Nothing else should run meanwhile: the load is noted with the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RESULTS = ROOT / "bench" / "results"
PATIENCE = 300.0
WORKERS = 3
WINDOW = 1500  # steps between the two looks at the clock
SETTINGS = ("data.split.validation=0", "checkpoint.everySteps=1000000", "fit.batchSize=64")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Run:
    """One detached job in a state folder of its own."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.state = folder / "state"
        words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        self.begun = time.monotonic()
        self.ringyard("run", str(ROOT / "examples" / "digits.yaml"), "--detach", *words)

    def ringyard(self, *words: str) -> str:
        """Runs a command; its output."""
        done = subprocess.run(
            [BIN / "ringyard", *words, "--state-dir", self.state],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )
        if done.returncode:
            raise SystemExit(f"ringyard {words[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        """status.json as it stands."""
        try:
            found: dict[str, Any] = json.loads((self.state / "jobs" / "digits" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def until(self, true: Callable[[], Any]) -> Any:
        """Polls every 2 ms."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            if found := true():
                return found
            time.sleep(0.002)
        raise SystemExit(f"waited in vain; the job says: {self.status()}")

    def at_step(self, step: int) -> tuple[int, float]:
        """Waits for a step at or after `step`; that step and when it was first seen."""
        found = self.until(lambda: (now := self.status().get("step", 0)) >= step and now)
        return found, time.monotonic()

    def processes(self) -> Iterator[tuple[int, str]]:
        """Pid and command line of what runs for this state folder."""
        mark = str(self.state).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if mark in command or mark in (entry / "environ").read_bytes():
                        yield int(entry.name), command.replace(b"\0", b" ").decode(errors="replace").strip()

    def mebibytes(self, *endings: str) -> float:
        """Resident memory (Pss: shared pages by share) of a process whose command line ends or is marked so."""
        sizes = []
        for pid, command in self.processes():
            if any(command.endswith(one) or f"{one} " in command for one in endings):
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    sizes.append(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024)
        return statistics.mean(sizes) if sizes else float("nan")

    def end(self) -> None:
        """Leaves no process behind."""
        for _ in range(3):
            for pid, _command in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


@contextlib.contextmanager
def job(*settings: str) -> Iterator[Run]:
    """A job in a temporary folder, and nothing left of it."""
    folder = Path(tempfile.mkdtemp(prefix="ringyard-bench-"))
    run = None
    try:
        run = Run(folder, *settings)
        yield run
    finally:
        if run is not None:
            run.end()
        shutil.rmtree(folder, ignore_errors=True)


def training() -> dict[str, float]:
    """Submit → first step, seconds of one step, and memory while it trains."""
    with job("fit.epochs=1000000", "fit.schedule.name=constant") as run:
        run.until(lambda: run.status().get("step", 0))
        first = time.monotonic() - run.begun
        begin, began = run.at_step(300)
        memory = {
            "supervisor_mib": run.mebibytes("ringyard_operator supervise"),
            "agent_mib": run.mebibytes("-m ringyard_trainer.agent"),
            "training_process_mib": run.mebibytes("-m ringyard_trainer"),
        }
        begin, began = run.at_step(begin + 100)
        end, ended = run.at_step(begin + WINDOW)
        return {"first_step_seconds": first, "step_seconds": (ended - began) / (end - begin), **memory}


def peer() -> float:
    """Seconds of one step under torchrun's DDP with gloo."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        script = str(ROOT / "bench" / "ddp_digits.py")
        words = [str(BIN / "torchrun"), "--standalone", f"--nproc-per-node={WORKERS}", script, str(out)]
        subprocess.run(words, check=True, env=ENVIRONMENT, timeout=PATIENCE, capture_output=True)
        return float(json.loads(out.read_text())["step_seconds"])


def serving() -> dict[str, float]:
    """Submit → published for the example as it is (without validation), and the server's memory."""
    with job() as run:
        run.until(
            lambda: any(c["type"] == "Published" and c["status"] == "True" for c in run.status().get("conditions", []))
        )
        return {"published_seconds": time.monotonic() - run.begun, "server_mib": run.mebibytes("-m ringyard_serving")}


def allreduce() -> list[dict[str, float]]:
    """bench/allreduce.py's rows."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        script = str(ROOT / "bench" / "allreduce.py")
        words = [sys.executable, script, "--members", "2", str(WORKERS), "--json", str(out)]
        subprocess.run(words, check=True, env=ENVIRONMENT, timeout=PATIENCE, stdout=subprocess.DEVNULL)
        rows: list[dict[str, float]] = json.loads(out.read_text())
        return rows


def measure(rounds: int) -> dict[str, Any]:
    """All figures; those of training and its peer are medians over the rounds."""
    ours, theirs = [], []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: a job, then torchrun", file=sys.stderr)
        ours.append(training())
        theirs.append(peer())
    figures: dict[str, Any] = {name: statistics.median(one[name] for one in ours) for name in ours[0]}
    figures["peer_step_seconds"] = statistics.median(theirs)
    figures["ratio"] = figures["step_seconds"] / figures["peer_step_seconds"]
    print("serving, then allreduce", file=sys.stderr)
    return {**figures, **serving(), "allreduce": allreduce(), "rounds": {"ours": ours, "peer": theirs}}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    milli = 1000.0
    rows = [
        ("submit → first step", f"{figures['first_step_seconds']:.1f} s"),
        ("submit → published", f"{figures['published_seconds']:.1f} s"),
        (f"step, {WORKERS} workers", f"{figures['step_seconds'] * milli:.2f} ms"),
        (f"step, torchrun --nproc {WORKERS}, DDP, gloo", f"{figures['peer_step_seconds'] * milli:.2f} ms"),
        ("ratio (below 1 we are faster)", f"{figures['ratio']:.2f}"),
        ("memory of the supervisor", f"{figures['supervisor_mib']:.0f} MiB"),
        (
            "memory of a worker: agent + training process",
            f"{figures['agent_mib']:.0f} + {figures['training_process_mib']:.0f} MiB",
        ),
        ("memory of the model server", f"{figures['server_mib']:.0f} MiB"),
    ]
    rows += [
        (
            f"AllReduce of {int(row['bytes']) / 1024:g} KiB, {row['members']} members",
            f"{row['ringyard'] * milli:.2f} ms, gloo {row['gloo'] * milli:.2f} ms",
        )
        for row in figures["allreduce"]
    ]
    return "| what | figure |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def main() -> None:
    """Measures, prints, keeps."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="of training in turns with its peer (default 3)")
    load = os.getloadavg()[0]
    figures = measure(options.parse_args().rounds)
    figures["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 2)}
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}.json"
    kept.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{table(figures)}\n\nload before: {load:.1f} on {os.cpu_count()} cores; kept in {kept.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
