"""Real processes, the real coordinator: kill, freeze, join, leave, a coordinator that goes. Each sample counts once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ringyard_api.launch import WorkerLaunch
from ringyard_operator.coordinator import Coordinator, CoordinatorServer, one_token

MEMBER = Path(__file__).with_name("collective_member.py")
WORTH = 12 * 13 // 2  # of a step's batch, times the step's number
TOKEN = "a token of this test"


class Process:
    """One member."""

    def __init__(self, folder: Path, index: int, attempt: int, steps: int, length: int, pause: float) -> None:
        launch = WorkerLaunch(
            job="sums",
            spec_file="",
            worker_index=index,
            incarnation=f"uid-{index}-{attempt}",
            attempt=attempt,
            coordinator_file=str(folder / "coordinator"),
            token_file=str(folder / "token"),
            run_dir=str(folder),
            worker_dir=str(folder),
            host="127.0.0.1",
        )
        self.output, self.errors = folder / f"out-{index}-{attempt}", folder / f"err-{index}-{attempt}"
        with self.output.open("wb") as out, self.errors.open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, str(MEMBER), str(steps), str(length), str(pause)],
                env={**os.environ, **launch.environment(), "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=err,
            )

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.output.read_text().splitlines(keepends=True)
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in said if event["event"] == kind]

    def step(self) -> int:
        return max((event["step"] for event in self.events("step")), default=0)

    def end(self) -> int:
        code = self.popen.wait(40)
        assert self.errors.read_text() == ""
        return code


class Desk:
    """A coordinator on a loop of its own, and the processes that attend at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.coordinator: Coordinator | None = None
        self.server: CoordinatorServer | None = None
        self.led = True  # whether the coordinator's Lease is held
        self.processes: list[Process] = []
        self.address = ""
        (folder / "token").write_text(TOKEN)

    def run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(20)

    def open(self, term: int, replicas: int, minimum: int = 1) -> None:
        async def start() -> str:
            made = Coordinator(job="sums", uid="u", key=b"key of the job", term=term, held=lambda: self.led)
            made.want(replicas=replicas, min_replicas=minimum, stall_seconds=300)
            server = CoordinatorServer(one_token(TOKEN, "u"))
            server.open(made)
            self.coordinator, self.server = made, server
            return await server.start()

        self.address = self.run(start())
        (self.folder / "coordinator.new").write_text(self.address)
        (self.folder / "coordinator.new").replace(self.folder / "coordinator")

    def call(self, act: Callable[[Coordinator], Any]) -> Any:
        assert self.coordinator is not None
        coordinator = self.coordinator

        async def on_loop() -> Any:
            return act(coordinator)

        return self.run(on_loop())

    def stop(self) -> None:
        if self.server is not None:
            self.run(self.server.stop(0))
            self.coordinator = self.server = None

    def start(self, index: int, *, attempt: int = 1, steps: int, length: int = 20_000, pause: float = 0.004) -> Process:
        process = Process(self.folder, index, attempt, steps, length, pause)
        self.processes.append(process)
        return process

    def finish(self) -> dict[str, Any]:
        """Waits for the result, then ends the group."""
        until = time.monotonic() + 40
        while (result := self.call(lambda coordinator: coordinator.seen().result)) is None:
            assert time.monotonic() < until, [p.output.read_text()[-500:] for p in self.processes]
            time.sleep(0.02)
        self.call(lambda coordinator: coordinator.finish("the result stands"))
        return dict(result)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for process in made.processes:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGKILL)
            process.popen.wait()
    made.stop()
    made.loop.call_soon_threadsafe(made.loop.stop)


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def exact(steps: int) -> dict[str, int]:
    return {"step": steps, "total": WORTH * steps * (steps + 1) // 2}


def test_after_kill_9_the_survivors_redo_the_step_and_a_replacement_joins(desk: Desk) -> None:
    desk.open(1, replicas=3)
    steps = 400
    members = [desk.start(index, steps=steps, length=60_000) for index in range(3)]
    eventually(lambda: members[0].step() >= 50, "the group does not train")
    members[1].popen.send_signal(signal.SIGKILL)
    eventually(lambda: [e["size"] for e in members[0].events("view")][-1] == 2, "no view of the survivors")
    newcomer = desk.start(1, attempt=2, steps=steps, length=60_000)
    assert desk.finish() == exact(steps)
    assert [members[0].end(), members[2].end(), newcomer.end()] == [0, 0, 0]
    assert [event["size"] for event in members[0].events("view")] == [3, 2, 3]
    for survivor in (members[0], members[2]):
        assert len(survivor.events("lost")) == 1
        assert survivor.events("finished")[0]["total"] == exact(steps)["total"]


def test_a_frozen_member_is_out_in_seconds_and_comes_back_as_a_newcomer(desk: Desk) -> None:
    desk.open(1, replicas=2)
    steps = 500
    first, frozen = (desk.start(index, steps=steps) for index in range(2))
    eventually(lambda: first.step() >= 30, "the group does not train")
    frozen.popen.send_signal(signal.SIGSTOP)
    eventually(lambda: len(first.events("view")) == 2, "the frozen member holds the group")
    frozen.popen.send_signal(signal.SIGCONT)
    assert desk.finish() == exact(steps)
    assert [first.end(), frozen.end()] == [0, 0]
    for member in (first, frozen):
        assert member.events("finished")[0]["total"] == exact(steps)["total"]


def test_a_member_that_is_told_to_go_leaves_at_a_step_boundary_and_nobody_redoes_a_step(desk: Desk) -> None:
    desk.open(1, replicas=3)
    steps = 300
    members = [desk.start(index, steps=steps) for index in range(3)]
    eventually(lambda: members[0].step() >= 50, "the group does not train")
    members[2].popen.send_signal(signal.SIGTERM)
    assert members[2].end() == 143
    gone = members[2].events("terminated")[0]
    assert gone["total"] == exact(gone["step"])["total"]
    assert desk.finish() == exact(steps)
    assert [members[0].end(), members[1].end()] == [0, 0]
    assert [len(member.events("lost")) for member in members] == [0, 0, 0]


def test_training_goes_on_while_the_coordinator_is_away_and_goes_on_under_the_next(desk: Desk) -> None:
    desk.open(1, replicas=2)
    steps = 500
    members = [desk.start(index, steps=steps) for index in range(2)]
    eventually(lambda: members[0].step() >= 30, "the group does not train")
    desk.stop()
    before = members[0].step()
    eventually(lambda: members[0].step() >= before + 100, "training stopped with the coordinator")
    desk.open(2, replicas=2)
    assert desk.finish() == exact(steps)
    assert [member.end() for member in members] == [0, 0]
    assert [event["term"] for event in members[0].events("view")] == [1, 2]
    assert members[0].events("lost") == []


def test_a_member_lost_while_the_lease_is_not_held_is_waited_for_and_no_step_is_lost(desk: Desk) -> None:
    desk.open(1, replicas=3)
    steps = 200
    members = [desk.start(index, steps=steps) for index in range(3)]
    eventually(lambda: members[0].step() >= 30, "the group does not train")
    desk.led = False
    members[2].popen.kill()
    eventually(lambda: all(member.events("lost") for member in members[:2]), "the survivors did not notice")
    time.sleep(1.5)
    assert [len(member.events("view")) for member in members] == [1, 1, 1]
    desk.led = True
    assert desk.finish() == exact(steps)
    assert [member.end() for member in members[:2]] == [0, 0]
    assert [event["size"] for event in members[0].events("view")] == [3, 2]


def test_a_member_that_nobody_answers_goes_by_itself(desk: Desk) -> None:
    desk.open(1, replicas=1)
    member = desk.start(0, steps=10**9, length=1000)
    eventually(lambda: member.step() >= 10, "the group does not train")
    desk.stop()
    member.popen.send_signal(signal.SIGTERM)
    assert member.end() == 143
    gone = member.events("terminated")[0]
    assert gone["total"] == exact(gone["step"])["total"]


def test_a_newer_process_of_a_worker_fences_the_older(desk: Desk) -> None:
    desk.open(1, replicas=1)
    older = desk.start(0, steps=10**9, length=1000)
    eventually(lambda: older.step() >= 10, "the group does not train")
    newer = desk.start(0, attempt=2, steps=10**9, length=1000)
    assert older.end() == 143
    assert older.events("fenced")
    eventually(lambda: newer.step() >= 10, "the newer process does not train")
