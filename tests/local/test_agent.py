"""The worker's agent against the real coordinator, with small scripts as training processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ringyard_api.agentrecord import AgentRecord
from ringyard_api.launch import WorkerLaunch
from ringyard_operator.actions import Order
from ringyard_operator.coordinator import Caller, Coordinator, CoordinatorServer, one_token
from ringyard_operator.local.procfs import kill_session

TOKEN = "secret-of-this-test"


class Bench:
    """One job folder, one coordinator, and agents started by hand."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        (folder / "train.py").write_text(script)
        spec = {"spec": {"command": ["python", "train.py"], "code": {"path": str(folder)}}}
        (folder / "spec.json").write_text(json.dumps(spec))
        (folder / "token").write_text(TOKEN)
        self.coordinator = Coordinator(job="job", uid="u", key=b"k" * 32, term=1)
        self.server = CoordinatorServer(one_token(TOKEN, "u"))
        self.server.open(self.coordinator)
        self.agents: list[subprocess.Popen[bytes]] = []

    async def open(self) -> None:
        (self.folder / "coordinator").write_text(await self.server.start())
        self.coordinator.want(replicas=1, min_replicas=1, stall_seconds=60, script=True)

    def start(self, *, owner_seconds: float = 60, **more: str) -> subprocess.Popen[bytes]:
        worker = self.folder / "workers" / "0"
        worker.mkdir(parents=True, exist_ok=True)
        launch = WorkerLaunch(
            job="job",
            spec_file=str(self.folder / "spec.json"),
            worker_index=0,
            incarnation="uid-0",
            attempt=0,
            coordinator_file=str(self.folder / "coordinator"),
            token_file=str(self.folder / "token"),
            run_dir=str(self.folder / "run"),
            worker_dir=str(worker),
            host="127.0.0.1",
        )
        environment = {**os.environ, **launch.environment(), "RINGYARD_OWNER_TIMEOUT": str(owner_seconds), **more}
        with (worker / "log").open("ab") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "ringyard_trainer.agent"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.agents.append(agent)
        return agent

    def record(self) -> AgentRecord:
        return AgentRecord.from_json((self.folder / "workers/0/agent-0.json").read_text())

    def log(self) -> str:
        return (self.folder / "workers/0/log").read_text()

    async def until(self, done: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.log()
            self.coordinator.seen()
            await asyncio.sleep(0.05)

    def child(self) -> int:
        path = self.folder / "workers/0/agent-0.json"
        return self.record().child_pid if path.exists() else 0


class Service:
    """An address that leads each new connection to whoever serves now, as a Service does; open ones stay."""

    def __init__(self) -> None:
        self.target = ""
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.partition(":")
        there = await asyncio.open_connection(host, int(port))
        for source, sink in ((reader, there[1]), (there[0], writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@asynccontextmanager
async def bench(folder: Path, script: str) -> AsyncIterator[Bench]:
    made = Bench(folder, script)
    await made.open()
    try:
        yield made
    finally:
        for agent in made.agents:
            if agent.poll() is None:
                agent.kill()
            agent.wait()
        await made.server.stop(0)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_script_that_ends_well_reports_its_exit_and_the_agent_ends_with_0_once_the_result_stands(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        script = "import os\nprint('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])"
        async with bench(tmp_path, script) as made:
            agent = made.start()
            await made.until(lambda: len(made.coordinator.seen().exits) == 1)
            assert made.coordinator.seen().exits[0].exit_code == 0
            assert agent.poll() is None
            made.coordinator.finish("all ended with 0")
            await made.until(lambda: agent.poll() is not None)
            assert agent.returncode == 0
            assert "rank 0 of 1" in made.log()
            assert made.record().exit_code == 0

    asyncio.run(run())


def test_a_killed_process_is_restarted_in_place_and_a_permanent_end_is_passed_on_with_its_last_lines(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        script = (
            "import os, sys, time\n"
            "if os.environ['RINGYARD_PROCESS_ATTEMPT'] == '0': time.sleep(600)\n"
            "print('no luck'); sys.exit(3)"
        )
        async with bench(tmp_path, script) as made:
            agent = made.start()
            await made.until(lambda: made.child() > 0)
            os.kill(made.child(), signal.SIGKILL)
            await made.until(lambda: [e.exit_code for e in made.coordinator.seen().exits] == [137])
            made.coordinator.order(Order(uid="uid-0", process_attempt=0, verb="RESTART", reason="counted"))
            await made.until(lambda: [e.exit_code for e in made.coordinator.seen().exits] == [3])
            seen = made.coordinator.seen().exits[0]
            assert (seen.process_attempt, seen.last_lines) == (1, ("no luck",))
            made.coordinator.order(Order(uid="uid-0", process_attempt=1, verb="FAIL", reason="permanent"))
            await made.until(lambda: agent.poll() is not None)
            assert agent.returncode == 3
            assert [e.exit_code for e in made.record().exits] == [137, 3]

    asyncio.run(run())


def test_sigterm_is_passed_on_and_ends_with_143(tmp_path: Path) -> None:
    async def run() -> None:
        script = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: (print('checkpoint written'), sys.exit(0)))\n"
            "print('ready'); time.sleep(600)"
        )
        async with bench(tmp_path, script) as made:
            agent = made.start()
            await made.until(lambda: "ready" in made.log() if (tmp_path / "workers/0/log").exists() else False)
            agent.terminate()
            await made.until(lambda: agent.poll() is not None)
            assert agent.returncode == 143
            assert "checkpoint written" in made.log()

    asyncio.run(run())


def test_a_process_and_its_helpers_die_with_a_killed_agent_or_a_killed_process(tmp_path: Path) -> None:
    async def run() -> None:
        script = (
            "import subprocess, sys, time\n"
            "helper = subprocess.Popen(['sleep', '600'])\n"
            "open('helper', 'w').write(str(helper.pid)); time.sleep(600)"
        )
        async with bench(tmp_path, script) as made:
            agent = made.start()
            await made.until(lambda: (tmp_path / "helper").exists() and (tmp_path / "helper").read_text() != "")
            helper, child = int((tmp_path / "helper").read_text()), made.child()
            os.kill(child, signal.SIGKILL)
            await made.until(lambda: not alive(helper))
            made.coordinator.order(Order(uid="uid-0", process_attempt=0, verb="RESTART", reason="counted"))
            await made.until(lambda: made.child() not in (0, child))
            child = made.child()
            agent.kill()
            await made.until(lambda: not alive(child))
            helper = int((tmp_path / "helper").read_text())
            kill_session(agent.pid, "RINGYARD_INCARNATION", "uid-0")  # what the supervisor does for a dead agent
            await made.until(lambda: not alive(helper))

    asyncio.run(run())


def test_without_a_coordinator_the_process_is_asked_to_go_and_the_agent_ends_with_143(tmp_path: Path) -> None:
    async def run() -> None:
        script = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: (print('checkpoint written'), sys.exit(143)))\n"
            "print('ready'); time.sleep(600)"
        )
        async with bench(tmp_path, script) as made:
            agent = made.start(owner_seconds=1.5)
            await made.until(lambda: made.child() > 0 and "ready" in made.log())
            await made.server.stop(0)
            await made.until(lambda: agent.poll() is not None)
            assert agent.returncode == 143
            assert "checkpoint written" in made.log()
            assert "no coordinator has answered" in made.record().reason

    asyncio.run(run())


def test_a_program_that_does_not_exist_is_a_permanent_end_with_a_sentence(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path, "") as made:
            (tmp_path / "spec.json").write_text(json.dumps({"spec": {"command": ["no-such-program"]}}))
            made.start()
            await made.until(lambda: len(made.coordinator.seen().exits) == 1)
            seen = made.coordinator.seen().exits[0]
            assert seen.exit_code == 127
            assert "there is no program 'no-such-program'" in seen.last_lines[-1]

    asyncio.run(run())


def test_what_a_script_has_left_goes_to_the_coordinator_and_is_its_last_word(tmp_path: Path) -> None:
    async def run() -> None:
        script = (
            "import os, pathlib\n"
            "model = pathlib.Path(os.environ['RINGYARD_MODEL_DIR']); model.mkdir(parents=True)\n"
            "(model / 'model.json').write_text('{\"metrics\": {\"accuracy\": 0.9}}')"
        )
        async with bench(tmp_path, script) as made:
            last = tmp_path / "termination-log"
            agent = made.start(RINGYARD_TERMINATION_FILE=str(last), RINGYARD_RUN_URI="pvc://models/digits")
            await made.until(lambda: made.coordinator.seen().result is not None)
            result = made.coordinator.seen().result
            assert result is not None and result["metrics"] == {"accuracy": 0.9} and result["gate"] is None
            assert result["model"]["uri"] == "pvc://models/digits/model"
            made.coordinator.finish("all ended with 0")
            await made.until(lambda: agent.poll() is not None)
            assert json.loads(last.read_text()) == result

    asyncio.run(run())


def test_the_last_words_of_a_worker_that_fails_are_those_of_its_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path, "print('reading'); raise SystemExit('no such column: y')") as made:
            last = tmp_path / "termination-log"
            agent = made.start(RINGYARD_TERMINATION_FILE=str(last))
            await made.until(lambda: len(made.coordinator.seen().exits) == 1)
            made.coordinator.order(Order(uid="uid-0", process_attempt=0, verb="FAIL", reason="permanent"))
            await made.until(lambda: agent.poll() is not None)
            assert (agent.returncode, last.read_text()) == (1, "reading\nno such column: y")

    asyncio.run(run())


def test_a_worker_that_may_not_speak_for_this_place_ends_with_143_and_one_that_waits_for_ever_does_not(
    tmp_path: Path,
) -> None:
    async def somebody_else(_token: str) -> Caller:
        return Caller(job_uid="u", incarnation="another")

    async def run() -> None:
        async with bench(tmp_path, "import time; time.sleep(600)") as made:
            agent = made.start(owner_seconds=0)
            await made.until(lambda: made.child() > 0)
            await made.server.stop(0)
            made.server = CoordinatorServer(somebody_else)
            address = await made.server.start()
            assert agent.poll() is None
            (tmp_path / "coordinator").write_text(address)
            await made.until(lambda: agent.poll() is not None)
            assert agent.returncode == 143
            assert "may not speak for uid-0" in made.record().reason

    asyncio.run(run())


def test_behind_a_service_the_agent_finds_the_next_leader_though_the_last_one_still_listens(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path, "import time; time.sleep(600)") as made:
            service = Service()
            service.target = (tmp_path / "coordinator").read_text()
            (tmp_path / "coordinator").write_text(await service.open())
            made.start(owner_seconds=0)
            await made.until(lambda: made.child() > 0)
            made.server.drop()
            taken_over = Coordinator(job="job", uid="u", key=b"k" * 32, term=2)
            taken_over.want(replicas=1, min_replicas=1, stall_seconds=60, script=True)
            other = CoordinatorServer(one_token(TOKEN, "u"))
            other.open(taken_over)
            service.target = await other.start()
            try:
                await made.until(lambda: "uid-0" in taken_over.seen().agents)
                assert made.child() > 0
            finally:
                await service.close()
                await other.stop(0)

    asyncio.run(run())
