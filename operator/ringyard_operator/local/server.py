"""The model server as a process: start, know again after a restart, end. Called by `endpoint` and `remove`.

It runs in a session of its own and ends by itself when its owner is silent for a while, so that nothing is left
behind by a killed supervisor. It knows files and processes, nothing of versions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from ringyard_operator.errors import PortTaken, RingyardError
from ringyard_operator.local import disk, procfs
from ringyard_operator.local.folders import EndpointFolder

HOST = "127.0.0.1"
OWNER_SECONDS = 60.0
OWNER_VARIABLE = "RINGYARD_OWNER_TIMEOUT"  # another number of seconds, for tests
_MARK = "RINGYARD_ENDPOINT_DIR"


class Server:
    """The model server of one endpoint: adopted if it lives, else started on demand."""

    def __init__(self, folder: EndpointFolder) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self.identity = read_identity(folder.server_file)

    def alive(self) -> bool:
        """Whether it runs; a child that has ended is reaped."""
        if self._child is not None:
            self._child.poll()
        return self.identity is not None and self.identity.alive()

    def exit_code(self) -> int | None:
        """Of a child of ours that has ended."""
        return None if self._child is None else self._child.poll()

    def address(self, of: str = "grpc") -> str | None:
        """host:port once it listens; `of`: "grpc" or "metrics"."""
        data = None
        with contextlib.suppress(RingyardError):
            data = disk.read_json(self._folder.address_file)
        if data is None or self.identity is None or data.get("pid") != self.identity.pid:
            return None
        return str(data.get(of) or "") or None

    def start(self, port: int) -> None:
        """Starts it; 0 = a free port. Raises StateUnusable where the folder refuses."""
        folder = self._folder
        folder.token()
        self._end_strays()
        with disk.refusals("write", folder.path):
            folder.address_file.unlink(missing_ok=True)
            log = folder.server_log.open("ab")
        with log:
            self._log_from = log.tell()
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "ringyard_serving", *_arguments(folder, port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(folder),
                start_new_session=True,
            )
        self.identity = procfs.identify(self._child.pid)
        if self.identity is not None:
            disk.replace_json(folder.server_file, _as_data(self.identity))

    def _end_strays(self) -> None:
        """A supervisor that was killed just after it had started a server left one that nobody can adopt."""
        for pid in procfs.find(_MARK, str(self._folder.path)):
            if (stray := procfs.identify(pid)) is not None and (self.identity is None or stray != self.identity):
                stray.signal(signal.SIGKILL)

    def last_line(self) -> str:
        """What it said last since its start, for a human."""
        with contextlib.suppress(OSError), self._folder.server_log.open("rb") as log:
            log.seek(max(self._log_from, log.seek(0, 2) - 20_000))
            lines = log.read().decode("utf-8", "replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def terminate(self) -> None:
        """SIGTERM: it drains and ends."""
        if self.identity is not None:
            self.identity.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its whole session."""
        if self.identity is not None:
            procfs.kill_session(self.identity.pid, _MARK, str(self._folder.path))


def read_identity(path: Path) -> procfs.Identity | None:
    """Who a file says was started, or None."""
    with contextlib.suppress(RingyardError, KeyError, TypeError, ValueError):
        data = disk.read_json(path)
        if data is not None:
            return procfs.Identity(pid=int(data["pid"]), start_ticks=int(data["startTicks"]), boot=str(data["boot"]))
    return None


def check_port(folder: EndpointFolder, port: int) -> None:
    """Raises PortTaken if a stranger listens on the port that the manifest names: better now than after the
    training.
    """
    identity = read_identity(folder.server_file)
    if not port or (identity is not None and identity.alive()):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(
                f"spec.serve.port: port {port} of {HOST} is taken ({error.strerror}): free it, name another, "
                "or leave `port` out to get a free one"
            ) from error


def owner_seconds() -> float:
    """How long agents and servers live on without a supervisor."""
    return float(os.environ.get(OWNER_VARIABLE, OWNER_SECONDS))


def _environment(folder: EndpointFolder) -> dict[str, str]:
    environment = {**os.environ, _MARK: str(folder.path)}
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.path / "cache"))  # torch would leave it in /tmp
    return environment


def _arguments(folder: EndpointFolder, port: int) -> list[str]:
    options = {
        "--endpoint": folder.name,
        "--wanted": str(folder.wanted_file),
        "--host": HOST,
        "--port": str(port),
        "--metrics-port": "0",
        "--token-file": str(folder.token_file),
        "--address-file": str(folder.address_file),
        "--owner-timeout": f"{owner_seconds():g}",
    }
    return [part for pair in options.items() for part in pair]


def _as_data(identity: procfs.Identity) -> dict[str, object]:
    return {"pid": identity.pid, "startTicks": identity.start_ticks, "boot": identity.boot}
