"""The operator as a process of ours that looks after one namespace, for what cannot be tried on the installed one.

Its Lease and its coordinator are its own, so it disturbs nobody. Its way to the API server may lead through a line that
a test lets fall silent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from kubectl import Kubectl


class Line:
    """Passes bytes to the API server. `fall_silent`: what is connected stays so and carries nothing any more."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._flows = threading.Event()
        self._flows.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """New connections are not concerned."""
        self._flows.clear()
        self._flows = threading.Event()
        self._flows.set()

    def close(self) -> None:
        self._server.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._to)
                self._ends += [near, far]
                for way in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(*way, self._flows), daemon=True).start()

    def _copy(self, come: socket.socket, go: socket.socket, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := come.recv(1 << 16):
                if not flows.is_set():
                    return  # and the connection stays open
                go.sendall(data)
            go.shutdown(socket.SHUT_RDWR)


class OperatorProcess:
    """One candidate for the Lease of the test's namespace."""

    def __init__(self, kubectl: Kubectl, identity: str, kubeconfig: Path | None, folder: Path) -> None:
        self.identity, self.log = identity, folder / f"{identity}.log"
        self.health, self.metrics, coordinator = (free_port() for _ in range(3))
        options = {
            "trainer-image": "ringyard.test/absent:1",
            "serving-image": "ringyard.test/absent:1",
            "watch-namespace": kubectl.namespace,
            "namespace": kubectl.namespace,
            "identity": identity,
            "coordinator-address": f"127.0.0.1:{coordinator}",
            "coordinator-port": str(coordinator),
            "health-port": str(self.health),
            "metrics-port": str(self.metrics),
            "kubeconfig": str(kubeconfig or kubectl.kubeconfig.split(os.pathsep)[0]),
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ringyard_operator", "operate", *words], stdout=log, stderr=log
            )

    def page(self, port: int, path: str) -> tuple[int, str]:
        """Status and text of an answer; 0 while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        return self.page(self.health, "/readyz")[0] == 200

    def leads(self) -> bool:
        return "ringyard_operator_leader 1.0" in self.page(self.metrics, "/metrics")[1]

    def end(self) -> int:
        """Tells it to go; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def silent_line(kubectl: Kubectl, folder: Path) -> Iterator[tuple[Path, Line]]:
    """A kubeconfig whose way to the API server leads through a `Line`."""
    config = yaml.safe_load(kubectl.run("config", "view", "--raw", "--minify", "--flatten"))
    cluster = config["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").rstrip("/").partition(":")
    line = Line(host, int(port or 443))
    cluster["server"] = f"https://127.0.0.1:{line.port}"
    cluster.setdefault("tls-server-name", host)
    there = folder / "through-the-line.kubeconfig"
    there.write_text(yaml.safe_dump(config))
    there.chmod(0o600)
    try:
        yield there, line
    finally:
        line.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
