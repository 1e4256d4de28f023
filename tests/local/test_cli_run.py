"""`ringyard run` and the commands around it, on real jobs: scripts of a few lines, so that nothing waits for torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RINGYARD = Path(sys.executable).parent / "ringyard"


class Scripts:
    """A state folder of its own and jobs that run one short script in each worker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.environment = {**os.environ, "RINGYARD_STATE_DIR": str(self.state), "OMP_NUM_THREADS": "1"}

    def job(self, name: str, code: str, **spec: object) -> str:
        """Writes a manifest and returns its path."""
        (self.folder / f"{name}.py").write_text(code)
        command = [sys.executable, "-u", str(self.folder / f"{name}.py")]
        manifest = {
            "apiVersion": "ringyard.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name},
            "spec": {"workers": {"replicas": 2}, "command": command, **spec},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(manifest))
        return str(path)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RINGYARD), *words], capture_output=True, text=True, env=self.environment, timeout=120
        )

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        child = subprocess.Popen(
            [
                "env",
                "--default-signal=HUP",
                str(RINGYARD),
                *words,
            ],  # a suite under nohup ignores SIGHUP, and passes it on
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        assert child.stdout is not None
        try:
            assert child.stdout.readline(), "it says something as soon as it is under way"
            yield child
        finally:
            for _ in range(2):  # the second Ctrl-C leaves nothing behind
                if child.poll() is None:
                    child.send_signal(signal.SIGINT)
                    time.sleep(0.5)
            child.wait(timeout=60)
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()

    def left(self) -> list[int]:
        """Processes of this state folder that do not go by themselves within seconds."""
        for _ in range(100):
            if not self.alive():
                break
            time.sleep(0.1)
        return self.alive()

    def alive(self) -> list[int]:
        """Processes that belong to this state folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str(self.state).encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    scripts = Scripts(tmp_path)
    yield scripts
    for name in json.loads(scripts.call("list", "-o", "json").stdout)["items"]:
        scripts.call("delete", name["metadata"]["name"])
    assert scripts.left() == [], "no process is left"


WAITS = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print('waiting', flush=True)
time.sleep(120)
"""


def test_a_job_runs_to_its_end_in_plain_lines_and_is_not_run_again(scripts: Scripts) -> None:
    manifest = scripts.job("greets", "import os\nprint('hello from', os.environ['RANK'])")
    done = scripts.call("run", manifest)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    shown = json.loads(scripts.call("status", "greets", "-o", "json").stdout)
    summary = next(each for each in shown["status"]["conditions"] if each["type"] == "Succeeded")
    assert summary["status"] == "True"
    assert summary["message"] in done.stdout
    logs = scripts.call("logs", "greets").stdout.splitlines()
    assert {"[0] hello from 0", "[1] hello from 1"} <= set(logs)
    assert scripts.call("logs", "greets", "--worker", "1").stdout.splitlines() == [
        line for line in logs if line.startswith("[1] ")
    ]
    assert scripts.call("logs", "greets", "--worker", "7").returncode == 3
    again = scripts.call("run", manifest)
    assert (again.returncode, "has already succeeded and is not run again" in again.stdout) == (0, True)


def test_a_script_that_exits_with_3_fails_the_job_with_its_last_lines(scripts: Scripts) -> None:
    manifest = scripts.job("breaks", "import sys\nprint('the disk is upside down')\nsys.exit(3)")
    done = scripts.call("run", manifest)
    assert done.returncode == 1
    assert "the disk is upside down" in done.stderr
    assert "ringyard logs breaks" in done.stderr
    assert "Traceback" not in done.stderr
    assert scripts.call("wait", "breaks", "--for", "Succeeded").returncode == 1
    assert scripts.call("wait", "breaks", "--for", "Failed").returncode == 0


def test_ctrl_c_stops_the_workers_and_the_same_run_goes_on(scripts: Scripts) -> None:
    marker = scripts.folder / "second"
    manifest = scripts.job("patient", f"import os, sys\nif os.path.exists({str(marker)!r}): sys.exit(0)\n{WAITS}")
    with scripts.running("run", manifest) as child:
        assert scripts.call("wait", "patient", "--for", "Running", "--timeout", "60").returncode == 0
        second = scripts.call("run", manifest)
        assert (second.returncode, str(child.pid) in second.stderr) == (2, True)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "the same `ringyard run` goes on" in err
    assert scripts.left() == []
    marker.touch()
    assert scripts.call("run", manifest).returncode == 0


def test_a_reader_that_goes_and_a_terminal_that_closes_leave_no_process_behind(scripts: Scripts) -> None:
    manifest = scripts.job("alone", WAITS)
    with scripts.running("run", manifest) as child:
        assert child.stdout is not None
        child.stdout.close()  # as `| head -1` does
        assert scripts.call("wait", "alone", "--for", "Running", "--timeout", "60").returncode == 0
        child.send_signal(signal.SIGHUP)
        assert child.wait(timeout=60) == 130
    assert scripts.left() == []


def test_a_second_ctrl_c_ends_at_once_what_will_not_leave(scripts: Scripts) -> None:
    manifest = scripts.job("stubborn", WAITS.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN"))
    with scripts.running("run", manifest) as child:
        assert scripts.call("wait", "stubborn", "--for", "Running", "--timeout", "60").returncode == 0
        child.send_signal(signal.SIGINT)
        assert child.stdout is not None
        assert any("Ctrl-C again ends at once" in line for line in child.stdout)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
    assert child.returncode == 130
    assert scripts.left() == []


def test_a_detached_job_is_followed_scaled_stopped_and_deleted_by_name(scripts: Scripts) -> None:
    manifest = scripts.job("far", WAITS, runPolicy={"restartPolicy": "OnFailure"})
    done = scripts.call("run", manifest, "--detach")
    assert done.returncode == 0
    assert scripts.call("wait", "far", "--for", "Running", "--timeout", "60").returncode == 0
    assert scripts.call("scale", "far", "--replicas", "1").returncode == 0
    with scripts.running("logs", "far", "--follow") as follower:
        stopped = scripts.call("stop", "far")
        assert (stopped.returncode, "goes on" in stopped.stdout) == (0, True)
        follower.communicate(timeout=60)
    assert follower.returncode == 0, "logs --follow ends with what it follows"
    assert scripts.left() == []
    assert "it was stopped" in scripts.call("status", "far").stdout
    assert scripts.call("delete", "far").returncode == 0
    assert scripts.call("status", "far").returncode == 3


def test_a_manifest_that_suspends_its_job_starts_nothing_and_says_what_starts_it(scripts: Scripts) -> None:
    manifest = scripts.job("later", "print('now')", runPolicy={"suspend": True})
    for how in ((), ("--detach",)):
        done = scripts.call("run", manifest, *how)
        assert (done.returncode, done.stderr) == (0, "")
        assert "set spec.runPolicy.suspend to false and run it again" in done.stdout
    assert scripts.call("run", manifest, "--set", "runPolicy.suspend=false").returncode == 0
