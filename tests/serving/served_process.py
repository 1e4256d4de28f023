"""A real model server as a process, for tests: started, asked over its control service, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from ringyard_api.protos import server_control_pb2 as pb
from ringyard_api.protos.server_control_pb2_grpc import ServerControlStub

TOKEN = "a-token"
ENOUGH_SECONDS = 60.0


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, model: str) -> None:
        self.process = process
        self.model = model
        self._folder = folder
        addresses = self._addresses()
        self.url: str = addresses["grpc"]
        self.metrics: str = addresses["metrics"]
        self._channel = grpc.insecure_channel(self.url)
        self._control = ServerControlStub(self._channel)

    def _addresses(self) -> Mapping[str, Any]:
        path = self._folder / "address.json"
        for _ in range(int(ENOUGH_SECONDS / 0.05)):
            if path.exists():
                return dict(json.loads(path.read_text()))
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}: {self.log()}")
            time.sleep(0.05)
        raise AssertionError("the server wrote no address")

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def apply(self, generation: int, versions: Sequence[Mapping[str, Any]], token: str = TOKEN) -> pb.State:
        wanted = pb.Wanted(model=self.model, generation=generation, versions=[pb.WantedVersion(**v) for v in versions])
        return self._control.Apply(wanted, metadata=_bearer(token), timeout=10)

    def state(self) -> pb.State:
        return self._control.Get(pb.GetRequest(), metadata=_bearer(TOKEN), timeout=10)

    def phase(self, version: str) -> str:
        """LOADING, READY, … or 'absent'."""
        for entry in self.state().versions:
            if entry.version == version:
                return pb.VersionState.Phase.Name(entry.phase)
        return "absent"

    def wait_for(self, version: str, phase: str) -> pb.State:
        for _ in range(int(ENOUGH_SECONDS / 0.05)):
            seen = self.phase(version)
            if seen == phase:
                return self.state()
            if seen == "FAILED":
                break
            time.sleep(0.05)
        raise AssertionError(f"version {version} is {self.phase(version)}, not {phase}: {self.log()}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def serving(folder: Path, model: str, versions: Sequence[Mapping[str, Any]], *options: str) -> Iterator[Served]:
    """A server of these versions, ended on leaving; it is not yet ready when it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wanted.json").write_text(json.dumps({"model": model, "generation": 1, "versions": list(versions)}))
    (folder / "token").write_text(TOKEN + "\n")
    command = [
        *(sys.executable, "-m", "ringyard_serving", "--endpoint", model, "--wanted", str(folder / "wanted.json")),
        *("--token-file", str(folder / "token"), "--address-file", str(folder / "address.json")),
        *("--metrics-port", "0", "--drain-seconds", "0.5", *options),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        served = Served(process, folder, model)
    except BaseException:
        process.kill()
        process.wait()
        raise
    try:
        yield served
    finally:
        served.close()


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
