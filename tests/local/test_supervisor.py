"""Whole jobs in local mode: real supervisors, agents and processes, with small scripts as `command`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ringyard_api.defaults import resolve
from ringyard_api.jobstatus import seconds
from ringyard_api.loading import load_job
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.errors import AlreadyRunning, LaunchFailed, NotChangeable, StateUnusable
from ringyard_operator.local import procfs
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.processes import Workers
from ringyard_operator.local.remove import delete_job
from ringyard_operator.local.submit import Submission, set_replicas, submit, suspend
from ringyard_operator.local.supervisor import Ending, Outcome, detach, supervise
from ringyard_operator.metrics import NAMES

PATIENT = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"


class Yard:
    """One state folder, the jobs of a test, and the certainty that nothing of them is left behind."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self.code.mkdir()
        self.state = StateDir(folder / "state")

    def manifest(self, script: str, *, replicas: int = 1, extra: str = "", name: str = "job") -> TrainingJob:
        (self.code / "train.py").write_text(script)
        text = (
            "apiVersion: ringyard.dev/v1alpha1\nkind: TrainingJob\n"
            f"metadata: {{name: {name}}}\nspec:\n  workers: {{replicas: {replicas}, minReplicas: 1}}\n"
            f"  command: [python, train.py]\n  code: {{path: {self.code}}}\n{extra}"
        )
        return resolve(load_job(text, "test.yaml"))

    def run(self, name: str = "job") -> Outcome:
        async def main() -> Outcome:
            return await supervise(
                self.state, name, serve=False, metrics_port=None, on_change=lambda *_: None, stop=asyncio.Event()
            )

        return asyncio.run(asyncio.wait_for(main(), 60))

    def start(self, name: str = "job") -> int:
        return detach(self.state, name, serve=False)

    def until(self, done: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.05)

    def story(self) -> str:
        folder = self.state.job("job")
        parts = [folder.supervisor_log, folder.status_file, *folder.worker_logs().values()]
        return "\n".join(f"== {part}\n{part.read_text()}" for part in parts if part.exists())

    def log(self, index: int = 0) -> str:
        path = self.state.job("job").worker_logs().get(index)
        return path.read_text() if path is not None else ""

    def children(self) -> dict[int, int]:
        """Pids of the living training processes, by worker index."""
        agents = Workers(self.state.job("job")).seen()
        return {a.record.index: a.record.child_pid for a in agents if a.alive and a.record.child_pid}

    def reason(self, kind: str) -> str:
        status = self.state.job("job").read().status
        found = [c.reason for c in (status.conditions if status else ()) if c.type == kind and c.status == "True"]
        return found[0] if found else ""

    def counted(self) -> int:
        status = self.state.job("job").read().status
        return status.restarts.counted if status is not None and status.restarts is not None else 0

    def completed(self) -> str:
        status = self.state.job("job").read().status
        return status.completion_time if status is not None else ""

    def processes(self) -> list[int]:
        """Everything alive that belongs to the job: agents and training processes."""
        return procfs.find("RINGYARD_JOB", "job")


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    yield made
    folder = made.state.job("job")
    if pid := folder.holder():
        os.kill(pid, signal.SIGKILL)
        made.until(lambda: folder.holder() is None)
    Workers(folder).kill_all()


def test_a_script_that_ends_with_0_is_a_job_that_succeeded_and_leaves_no_process(yard: Yard) -> None:
    submitted = submit(yard.state, yard.manifest("import os; print('rank', os.environ['RANK'])", replicas=2))
    assert submitted.outcome is Submission.CREATED
    outcome = yard.run()
    assert outcome.ending is Ending.SUCCEEDED, yard.story()
    assert {"rank 0" in yard.log(0), "rank 1" in yard.log(1)} == {True}
    assert yard.processes() == []
    again = submit(yard.state, yard.manifest("import os; print('rank', os.environ['RANK'])", replicas=2))
    assert again.outcome is Submission.FINISHED
    assert "not run again" in again.notes[0]
    assert yard.run().ending is Ending.SUCCEEDED
    assert yard.log(0).count("rank 0") == 1


def test_a_script_that_ends_with_3_fails_the_job_and_the_sentence_ends_with_its_last_lines(yard: Yard) -> None:
    submit(yard.state, yard.manifest("import sys; print('the label is missing'); sys.exit(3)"))
    outcome = yard.run()
    assert outcome.ending is Ending.FAILED, yard.story()
    assert "the label is missing" in outcome.message
    assert yard.processes() == []


def test_a_killed_process_is_counted_once_and_runs_again(yard: Yard) -> None:
    script = "import os, time\nif os.environ['RINGYARD_PROCESS_ATTEMPT'] == '0': time.sleep(600)\nprint('second life')"
    submit(yard.state, yard.manifest(script))
    yard.start()
    yard.until(lambda: bool(yard.children()))
    os.kill(yard.children()[0], signal.SIGKILL)
    yard.until(lambda: yard.reason("Succeeded") != "")
    assert "second life" in yard.log()
    assert yard.counted() == 1


def test_a_killed_agent_is_replaced_by_a_new_attempt_and_its_process_dies_with_it(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT))
    yard.start()
    yard.until(lambda: bool(yard.children()))
    first = Workers(yard.state.job("job")).seen()[0]
    child = yard.children()[0]
    os.kill(first.record.pid, signal.SIGKILL)
    yard.until(lambda: yard.children().get(0, child) != child)
    newest = Workers(yard.state.job("job")).seen()[-1].record
    assert newest.attempt > first.record.attempt
    assert child not in yard.processes()
    assert yard.counted() == 1


def test_a_second_run_of_a_live_job_is_refused_with_the_pid(yard: Yard) -> None:
    job = yard.manifest(PATIENT)
    submit(yard.state, job)
    pid = yard.start()
    with pytest.raises(AlreadyRunning, match=str(pid)):
        submit(yard.state, job)
    with pytest.raises(AlreadyRunning, match=str(pid)):
        yard.start()


def test_after_kill_9_of_the_supervisor_a_new_one_takes_the_living_workers_over(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT, replicas=2))
    first = yard.start()
    yard.until(lambda: len(yard.children()) == 2 and "ready" in yard.log(0) and "ready" in yard.log(1))
    before = yard.children()
    os.kill(first, signal.SIGKILL)
    yard.until(lambda: yard.state.job("job").holder() is None)
    assert submit(yard.state, yard.manifest(PATIENT, replicas=2)).outcome is Submission.UNCHANGED
    second = yard.start()
    yard.until(lambda: (yard.state.job("job").read().status or object()).term == 2)  # type: ignore[attr-defined]
    time.sleep(3)  # long enough for a supervisor that replaces them to have done it
    assert yard.children() == before
    assert sorted(yard.log(0).splitlines()).count("ready") == 1
    assert yard.counted() == 0
    assert second == yard.state.job("job").holder()


def test_scaling_a_live_job_starts_and_ends_workers_and_counts_nothing(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT))
    yard.start()
    yard.until(lambda: set(yard.children()) == {0})
    set_replicas(yard.state, "job", 2)
    yard.until(lambda: set(yard.children()) == {0, 1})
    set_replicas(yard.state, "job", 1)
    yard.until(lambda: set(yard.children()) == {0} and len(Workers(yard.state.job("job")).seen()) >= 1)
    yard.until(lambda: "ready" in yard.log(0))
    assert yard.counted() == 0
    with pytest.raises(NotChangeable, match="must be at least 1, got 0"):
        set_replicas(yard.state, "job", 0)


def test_a_suspended_job_has_no_process_and_goes_on_when_it_is_run_again(yard: Yard) -> None:
    job = yard.manifest(PATIENT)
    submit(yard.state, job)
    yard.start()
    yard.until(lambda: bool(yard.children()))
    suspend(yard.state, "job")
    yard.until(lambda: yard.state.job("job").holder() is None)
    assert yard.processes() == []
    assert yard.reason("Suspended")
    assert submit(yard.state, job).outcome is Submission.CHANGED
    yard.start()
    yard.until(lambda: bool(yard.children()))
    assert yard.counted() == 0


def test_stopping_the_supervisor_stops_the_workers_and_leaves_no_process(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT, replicas=2))
    pid = yard.start()
    yard.until(lambda: len(yard.children()) == 2)
    os.kill(pid, signal.SIGTERM)
    yard.until(lambda: yard.state.job("job").holder() is None)
    assert yard.processes() == []


def test_a_changed_immutable_field_is_refused_with_its_path_and_a_mutable_one_is_followed(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT))
    other = yard.manifest(PATIENT, extra="  storage: {uri: /elsewhere}\n")
    with pytest.raises(NotChangeable, match=r"spec\.storage"):
        submit(yard.state, other)
    followed = submit(yard.state, yard.manifest(PATIENT, replicas=2))
    assert (followed.outcome, followed.job.metadata.generation) == (Submission.CHANGED, 2)


def test_a_deleted_job_leaves_neither_processes_nor_its_folder(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT))
    yard.start()
    yard.until(lambda: bool(yard.children()))
    delete_job(yard.state, "job")
    assert yard.processes() == []
    assert yard.state.jobs() == []
    assert not yard.state.job("job").path.exists()


def test_a_state_folder_that_cannot_be_written_is_one_sentence(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateUnusable, match=r"cannot write the state folder: .*choose another with --state-dir"):
        submit(StateDir(tmp_path / "file"), yard.manifest(PATIENT))


def test_orphans_of_a_vanished_supervisor_end_by_themselves(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGYARD_OWNER_TIMEOUT", "1.5")
    submit(yard.state, yard.manifest(PATIENT))
    pid = yard.start()
    yard.until(lambda: bool(yard.children()))
    os.kill(pid, signal.SIGKILL)
    yard.until(lambda: yard.processes() == [])


def test_the_supervisor_serves_every_metric_that_it_promises(yard: Yard) -> None:
    submit(yard.state, yard.manifest(PATIENT, replicas=2))
    yard.start()
    yard.until(lambda: len(yard.children()) == 2)
    address = yard.state.job("job").metrics_file.read_text().strip()
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    assert [name for name in NAMES if f"{name}{{" not in text] == []
    assert 'ringyard_workers{job="job",state="running"} 2.0' in text


def test_a_port_that_a_stranger_holds_is_refused_before_the_training_begins(yard: Yard) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        submit(yard.state, yard.manifest(PATIENT, extra=f"  serve: {{endpoint: job, port: {port}}}\n"))
        with pytest.raises(LaunchFailed, match=rf"spec\.serve\.port: port {port} of 127\.0\.0\.1 is taken"):
            detach(yard.state, "job")
    assert yard.log() == ""


def test_a_finished_job_goes_when_its_time_is_over(yard: Yard) -> None:
    submit(yard.state, yard.manifest("", extra="  runPolicy: {ttlSecondsAfterFinished: 1}\n"))
    assert yard.run().ending is Ending.SUCCEEDED
    submit(yard.state, yard.manifest("", name="other"))
    yard.until(lambda: time.time() > seconds(yard.completed()) + 1)
    yard.run("other")
    assert yard.state.jobs() == ["other"]


def test_the_command_that_detaching_starts_says_its_errors_in_one_sentence(yard: Yard) -> None:
    def said(name: str) -> str:
        command = [sys.executable, "-m", "ringyard_operator", "supervise", name, "--state-dir", str(yard.state.root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        return done.stderr

    assert said("none").startswith("ringyard: there is no job named 'none'")
    submit(yard.state, yard.manifest(""))
    spec = yard.state.job("job").spec_file
    spec.write_text(spec.read_text().replace('"replicas"', '"replica"'))
    assert "Traceback" not in said("job") and "spec.workers.replica" in said("job")
