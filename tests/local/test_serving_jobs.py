"""Jobs that publish: endpoints, their servers and their supervisors, with models that a script left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from ringyard_api.artifact import MODEL_JSON, PROGRAM, ModelManifest, TensorSpec, sha256
from ringyard_api.defaults import resolve
from ringyard_api.loading import load_job
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.local import procfs
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.remove import delete_endpoint, delete_job
from ringyard_operator.local.server import read_identity
from ringyard_operator.local.submit import submit
from ringyard_operator.local.supervisor import Ending, Outcome, detach, supervise
from ringyard_operator.predict import Client

SCRIPT = "import os, shutil, sys; shutil.copytree(sys.argv[1], os.environ['RINGYARD_MODEL_DIR'])"


class Constant(torch.nn.Module):
    """Answers with one number, so that a caller sees which version answered."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.register_buffer("number", torch.tensor([number]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :1] * 0 + self.number


def artifact(folder: Path, number: float) -> Path:
    """A model that always answers this number."""
    import torch.export

    folder.mkdir()
    shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    program = torch.export.export(Constant(number).eval(), (torch.zeros(2, 4),), dynamic_shapes=shapes)
    torch.export.save(program, folder / PROGRAM)
    manifest = ModelManifest(
        name="constant",
        inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 4)),),
        outputs=(TensorSpec(name="prediction", datatype="FP32", shape=(-1, 1)),),
        files={PROGRAM: sha256((folder / PROGRAM).read_bytes())},
    )
    (folder / MODEL_JSON).write_text(manifest.to_json())
    return folder


class Yard:
    """One state folder, jobs that publish into the endpoint `answer`, and its callers."""

    def __init__(self, folder: Path) -> None:
        self.state = StateDir(folder / "state")
        self.endpoint = self.state.endpoint("answer")

    def submit(self, name: str, model: Path) -> None:
        text = (
            "apiVersion: ringyard.dev/v1alpha1\nkind: TrainingJob\n"
            f"metadata: {{name: {name}}}\nspec:\n  command: [python, -c, {SCRIPT!r}, {model}]\n"
            "  serve: {endpoint: answer}\n"
        )
        job = load_job(text, "test.yaml")
        assert isinstance(job, TrainingJob)
        submit(self.state, resolve(job))

    def run(self, name: str) -> Outcome:
        async def main() -> Outcome:
            return await supervise(
                self.state, name, serve=True, metrics_port=None, on_change=lambda *_: None, stop=asyncio.Event()
            )

        return asyncio.run(asyncio.wait_for(main(), 90))

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.1)

    def story(self) -> str:
        paths = [*self.state.root.glob("jobs/*/supervisor.log"), *self.state.root.glob("*/*/status.json")]
        paths += self.state.root.glob("endpoints/*/server.log")
        return "\n".join(f"== {path}\n{path.read_text()}" for path in paths)

    def answers(self) -> float | None:
        """What the endpoint says now; None while it does not serve."""
        status = self.endpoint.read().status if self.endpoint.exists() else None
        if status is None or not status.url or not any(each.phase == "READY" for each in status.versions):
            return None
        with Client(status.url.removeprefix("grpc://"), timeout=5) as client:
            row = client.predict("answer", [[0.0, 0.0, 0.0, 0.0]]).rows[0]
        value = row["prediction"]
        return float(value[0] if isinstance(value, list) else value)

    def server(self) -> int:
        identity = read_identity(self.endpoint.server_file)
        return identity.pid if identity is not None and identity.alive() else 0

    def servers(self) -> list[int]:
        return procfs.find("RINGYARD_ENDPOINT_DIR", str(self.endpoint.path))


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    yield made
    for folder in (made.endpoint, *(made.state.job(name) for name in made.state.jobs())):
        if (pid := folder.holder()) not in (None, 0, os.getpid()):
            os.kill(pid, signal.SIGKILL)
    for pid in made.servers():
        os.kill(pid, signal.SIGKILL)


def test_an_endpoint_outlives_its_server_its_supervisor_and_a_broken_model(yard: Yard, tmp_path: Path) -> None:
    seven, nine = artifact(tmp_path / "seven", 7), artifact(tmp_path / "nine", 9)

    # A first job publishes, and its supervisor serves.
    yard.submit("first", seven)
    first = detach(yard.state, "first")
    yard.until(lambda: yard.answers() == 7.0)
    yard.until(lambda: yard.state.job("first").holder() is None)  # it has ended; only the endpoint is held
    status = yard.state.job("first").read().status
    assert status is not None and status.endpoint is not None
    assert (status.endpoint.version, yard.endpoint.holder()) == ("1", first)

    # A server that dies comes back with what it held.
    before = yard.server()
    os.kill(before, signal.SIGKILL)
    yard.until(lambda: yard.server() not in (0, before) and yard.answers() == 7.0)

    # A second job publishes into the same endpoint, and leaves the serving to the first one's supervisor.
    yard.submit("second", nine)
    outcome = yard.run("second")
    assert (outcome.ending, outcome.served_elsewhere) == (Ending.SUCCEEDED, first), yard.story()
    assert yard.answers() == 9.0

    # A model that was tampered with fails its job, and the old version goes on serving.
    broken = shutil.copytree(nine, tmp_path / "broken")
    (broken / MODEL_JSON).write_text((broken / MODEL_JSON).read_text().replace('"constant"', '"broken"'))
    (broken / PROGRAM).write_bytes((broken / PROGRAM).read_bytes() + b"tampered")
    yard.submit("third", broken)
    outcome = yard.run("third")
    assert outcome.ending is Ending.FAILED
    assert PROGRAM in outcome.message
    assert yard.answers() == 9.0

    # The supervisor is killed: a run of the finished job adopts the living server.
    server = yard.server()
    os.kill(first, signal.SIGKILL)
    yard.until(lambda: yard.endpoint.holder() is None)
    second = detach(yard.state, "first")
    yard.until(lambda: yard.endpoint.holder() == second and yard.answers() == 9.0)
    assert yard.servers() == [server]

    # A deleted job leaves the model that is served; a deleted endpoint leaves nothing.
    delete_job(yard.state, "second")
    assert yard.state.jobs() == ["first", "third"]
    assert yard.answers() == 9.0
    delete_endpoint(yard.state, "answer")
    assert yard.servers() == []
    assert yard.state.endpoints() == []
