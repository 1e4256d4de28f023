"""PID 1 of a worker: starts the training process, reports its state, restarts it in place, and passes SIGTERM on.

Started by the shells (a Pod's command, or the local supervisor) with the launch contract in the environment. What to
do is decided by `agent_rules`; this is the loop around it. It imports no torch, so a worker costs little before it
trains. Its exit code is a contract: 0 = the result stands, 143 = it was told to go, 1-127 = permanent, others =
counted.
"""

from __future__ import annotations

import json
import os
import pwd
import select as poll
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringyard_api import launch
from ringyard_api.agentrecord import AgentRecord, ProcessExit, file_name
from ringyard_api.protos import coordinator_pb2 as pb

from ringyard_trainer import agent_words
from ringyard_trainer.agent_child import Child, reap_orphans, start_ticks
from ringyard_trainer.agent_link import PROTOCOLS, Link
from ringyard_trainer.agent_rules import GRACE_SECONDS, AgentRules, Step

REPORT_SECONDS = 1.0
REPORT_SECONDS_UNDECIDED = 0.2  # while nothing runs and the coordinator has not decided
REPORT_TIMEOUT = 1.0
OWNER_SECONDS = 60.0  # without any answer, unless the contract says otherwise: the supervisor is gone for good
_KEPT_EXITS = 20


class Agent:
    """One worker's agent. `run` returns its exit code."""

    def __init__(self, contract: launch.WorkerLaunch, environment: Mapping[str, str]) -> None:
        self._contract, self._environment = contract, dict(environment)
        self._rules = AgentRules(float(environment.get(launch.GRACE, GRACE_SECONDS)))
        self._link = Link(contract.coordinator_file, contract.token_file)
        self._child: Child | None = None
        self._last_lines: tuple[str, ...] = ()
        self._out_of_memory = False
        self._result: dict[str, Any] | None = None  # of a script whose last process ended with 0
        self._owner_seconds = float(environment.get(launch.OWNER_TIMEOUT, OWNER_SECONDS))
        self._answered_at = time.monotonic()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._record = AgentRecord(
            uid=contract.incarnation,
            index=contract.worker_index,
            attempt=contract.attempt,
            created_at=time.time(),
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        )

    def run(self) -> int:
        """Reports and obeys until it is told to end, by order, by signal, or by the silence of the coordinator."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop up
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the supervisor's business; it says SIGTERM
        self._make_folder()
        self._write_record()
        report_at = 0.0
        while True:
            self._notice_exit()
            while step := self._rules.due(time.monotonic()):
                if step.do == "end":
                    return self._end(step)
                self._perform(step)
                report_at = 0.0
            now = time.monotonic()
            if now >= report_at:
                changed = self._report()
                report_at = time.monotonic() + (REPORT_SECONDS if self._rules.running else REPORT_SECONDS_UNDECIDED)
                if changed:
                    continue
            self._sleep_until(report_at)

    def _on_sigterm(self, *_: object) -> None:
        self._rules.told(time.monotonic())
        if self._child is not None:  # at once, not after the call that the loop may be in
            self._child.terminate()

    def _sleep_until(self, report_at: float) -> None:
        clock = self._rules.next_clock()
        until = report_at if clock is None else min(report_at, clock)
        ready, _, _ = poll.select([self._wake_read], [], [], max(0.0, until - time.monotonic()))
        if ready:
            os.read(self._wake_read, 4096)

    def _notice_exit(self) -> None:
        reap_orphans(self._child)
        if self._child is None or (code := self._child.exit_code()) is None:
            return
        at = time.time()
        self._last_lines, self._out_of_memory = self._child.last_lines(), self._child.out_of_memory()
        self._child = None
        if code == 0 and self._is_script():
            self._result = agent_words.script_result(self._environment)
        self._rules.exited(code, at)
        self._keep_exit(code, at)
        _say(f"process {self._rules.process_attempt} ended with {_describe(code)}")
        self._report()

    def _keep_exit(self, code: int, at: float) -> None:
        ended = ProcessExit(
            process_attempt=self._rules.process_attempt,
            exit_code=code,
            at=at,
            out_of_memory=self._out_of_memory,
            last_lines=self._last_lines,
        )
        exits = (*self._record.exits, ended)[-_KEPT_EXITS:]
        self._record = replace(self._record, exits=exits, child_pid=0)
        self._write_record()

    def _perform(self, step: Step) -> None:
        if step.do == "start":
            self._start(step)
        elif self._child is not None and step.do == "terminate":
            self._child.terminate()
        elif self._child is not None and step.do == "kill":
            self._child.kill()

    def _start(self, step: Step) -> None:
        if self._rules.leaving is not None:
            return  # SIGTERM came since the step was due
        attempt = self._rules.next_attempt
        self._last_lines, self._out_of_memory, self._result = (), False, None
        try:
            command, folder, environment = self._program(attempt, step.environment)
            self._child = Child(command, environment, folder)
        except (OSError, ValueError) as error:
            _say(f"the training process cannot be started: {error}")
            self._last_lines = (f"the training process cannot be started: {error}",)
            self._rules.started(attempt)
            self._rules.exited(launch.EXIT_BAD_INPUT, time.time())
            self._keep_exit(launch.EXIT_BAD_INPUT, time.time())
            return
        self._rules.started(attempt)
        self._record = replace(self._record, process_attempt=attempt, child_pid=self._child.pid)
        self._write_record()

    def _program(self, attempt: int, ordered: Mapping[str, str]) -> tuple[list[str], str | None, dict[str, str]]:
        spec = self._spec()
        folder = (spec.get("code") or {}).get("path")
        told = {launch.PROCESS_ATTEMPT: str(attempt), "PYTHONUNBUFFERED": "1"}
        environment = {**self._usual(), **self._environment, **ordered, **told}
        if not spec.get("command"):
            return [sys.executable, "-P", "-m", "ringyard_trainer"], None, environment
        tools = str(Path(sys.executable).parent)  # `python` in a command is the Python that Ringyard runs on
        environment["PATH"] = os.pathsep.join([tools, environment.get("PATH", os.defpath)])
        if folder:
            paths = [folder, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return [str(part) for part in spec["command"]], folder, environment

    def _spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = json.loads(Path(self._contract.spec_file).read_text())["spec"]
        return spec

    def _is_script(self) -> bool:
        try:
            return bool(self._spec().get("command"))
        except (OSError, ValueError, LookupError):
            return False

    def _usual(self) -> dict[str, str]:
        """What a process needs that the environment may not say: in a Pod no user has a name, and / is read-only."""
        usual = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(Path(self._contract.worker_dir) / "cache")}
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            usual |= {"USER": "ringyard", "HOME": self._contract.worker_dir}  # getpass.getuser() would fail
        return usual

    def _report(self) -> bool:
        """Reports once and takes the order. True if there is something to do now."""
        rules = self._rules
        report = pb.AgentReport(
            worker=self._contract.worker_index,
            incarnation=self._contract.incarnation,
            attempt=self._contract.attempt,
            process_attempt=rules.process_attempt,
            running=rules.running,
            exit_code=0 if rules.running else rules.exit_code,
            exited_at=0.0 if rules.running else rules.exited_at,
            last_lines=() if rules.running else self._last_lines,
            out_of_memory=self._out_of_memory and not rules.running,
            terminating=rules.leaving == launch.EXIT_TERMINATED,
            protocols=PROTOCOLS,
            result=b"" if self._result is None else json.dumps(self._result).encode(),
            host=self._contract.host,
        )
        order = self._link.report(report, REPORT_TIMEOUT)
        now = time.monotonic()
        if order is not None:
            self._answered_at = now
            rules.ordered(order, now)
        elif 0 < self._owner_seconds <= now - self._answered_at:
            rules.orphaned(self._owner_seconds, now)
        clock = rules.next_clock()
        return (rules.leaving is not None and not rules.running) or (clock is not None and clock <= now)

    def _end(self, step: Step) -> int:
        if step.reason:
            _say(f"ends with {step.exit_code}: {step.reason}")
        self._record = replace(
            self._record, finished_at=time.time(), exit_code=step.exit_code, reason=step.reason, child_pid=0
        )
        self._write_record()
        agent_words.leave(self._last_words(step.exit_code), self._environment)
        self._link.close()
        return step.exit_code

    def _last_words(self, code: int) -> str:
        if code == launch.EXIT_TERMINATED:
            return ""
        if code != launch.EXIT_RESULT_STANDS:
            return agent_words.of_failure(self._last_lines)
        result = self._result if self._is_script() else agent_words.fit_result(self._contract.run_dir)
        return agent_words.of_result(result) if result is not None else ""

    def _make_folder(self) -> None:
        try:
            Path(self._contract.worker_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _say(f"cannot make {self._contract.worker_dir}: {error.strerror}")

    def _write_record(self) -> None:
        path = Path(self._contract.worker_dir) / file_name(self._contract.attempt)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            partial.write_text(self._record.to_json())
            partial.replace(path)
        except OSError as error:  # a full disk or a deleted folder must not stop the training
            _say(f"cannot write {path}: {error.strerror}")


def _describe(code: int) -> str:
    if code > 128:
        try:
            return f"{code} ({signal.Signals(code - 128).name})"
        except ValueError:
            return str(code)
    return str(code)


def _say(sentence: str) -> None:
    print(f"ringyard agent: {sentence}", flush=True)


def main() -> int:
    """Entry point of `ringyard-worker`."""
    try:
        contract = launch.WorkerLaunch.from_environment(os.environ)
    except KeyError as error:
        print(f"ringyard-worker: {error.args[0]} is not set: it is started by Ringyard, not by hand", file=sys.stderr)
        return launch.EXIT_BAD_INPUT
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a coordinator that goes is no line in a user's log
    return Agent(contract, os.environ).run()


if __name__ == "__main__":
    sys.exit(main())
