"""The model server's process: opens ports, wires the parts, watches signals and its owner, drains, ends.

`python -m ringyard_serving` calls `main`. It decides nothing about models or requests.
Exit codes: 0 after a drain, 2 if it cannot start (one sentence on stderr).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from ringyard_api.protos import server_control_pb2_grpc

from ringyard_serving import store, wanted
from ringyard_serving.compute import Compute
from ringyard_serving.control import ControlServicer
from ringyard_serving.errors import ArtifactError, Refusal, StartError
from ringyard_serving.health import Health
from ringyard_serving.loader import Loader
from ringyard_serving.metrics import ServerMetrics
from ringyard_serving.options import Options, parse
from ringyard_serving.repository import Repository
from ringyard_serving.servicer import InferenceServicer, handlers

_log = logging.getLogger(__name__)
EXIT_CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM, SIGINT, or the owner's silence. Returns the exit code."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        with contextlib.ExitStack() as cleanup:
            asyncio.run(Server(options, _cache(options, cleanup)).run())
    except (StartError, ArtifactError, wanted.WantedError, Refusal) as error:
        print(f"ringyard-serving: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
    return 0


class Server:
    """All parts of one server process."""

    def __init__(self, options: Options, cache: Path) -> None:
        self._options = options
        self._first = _first_wanted(options)
        self._metrics = ServerMetrics()
        self._compute = Compute(threads=options.threads, limit=options.queue, pending=self._metrics.pending)
        loader = Loader(cache=cache, threads=options.threads)
        self._repository = Repository(options.endpoint, loader.load, loader.forget, options.store_seconds)
        self._servicer = InferenceServicer(self._repository, self._compute, self._metrics, _build())
        self._control = ControlServicer(self._repository, self._token)
        self._health = Health(options.endpoint)
        self._repository.changed = self._changed

    async def run(self) -> None:
        """Opens the ports, serves, drains. Raises `StartError` if a port or a file is not to be had."""
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        server, address = self._open()
        metrics = self._open_metrics()
        await server.start()
        self._write_addresses(address, metrics)
        _log.info("serving '%s' on %s", self._options.endpoint, address)
        self._repository.apply(self._first)
        await self._until_told(stop)
        await self._drain(server)

    def _open(self) -> tuple[grpc.aio.Server, str]:
        options = self._options
        _check_port(options.host, options.port, "--port")
        limit = options.message_bytes
        chosen: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
        ]
        if options.connection_seconds:
            # Leads clients away while they are still answered: a call that crosses the stop of gRPC's server is lost.
            chosen.append(("grpc.max_connection_age_ms", int(options.connection_seconds * 1000)))
        server = grpc.aio.server(options=chosen)
        server.add_generic_rpc_handlers((handlers(self._servicer),))
        server_control_pb2_grpc.add_ServerControlServicer_to_server(self._control, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        try:
            port = server.add_insecure_port(f"{options.host}:{options.port}")
        except RuntimeError as error:
            raise StartError(f"--port: cannot listen on {options.host}:{options.port}: {error}") from None
        return server, f"{options.host}:{port}"

    def _open_metrics(self) -> str | None:
        options = self._options
        if options.metrics_port is None:
            return None
        try:
            return f"{options.host}:{self._metrics.serve(options.host, options.metrics_port)}"
        except OSError as error:
            raise StartError(
                f"--metrics-port: port {options.metrics_port} of {options.host} is taken ({error.strerror}): "
                "free it, or give 0 for any free one"
            ) from None

    def _write_addresses(self, address: str, metrics: str | None) -> None:
        path = self._options.address_file
        if path is None:
            return
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fresh.write_text(json.dumps({"grpc": address, "metrics": metrics, "pid": os.getpid()}), encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            raise StartError(f"--address-file: cannot write {path}: {error.strerror}") from None

    async def _until_told(self, stop: asyncio.Event) -> None:
        """Until a signal, or until the owner has been silent for too long."""
        limit = self._options.owner_timeout
        while not stop.is_set():
            left = limit - self._control.silent_for() if limit else None
            if left is not None and left <= 0:
                _log.warning("nobody has looked after this server for %g s: it drains and ends", limit)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), left)

    async def _drain(self, server: grpc.aio.Server) -> None:
        """Not ready at once, answers for the drain delay, then no new call, and what is in flight ends."""
        self._servicer.draining = True
        self._changed()
        _log.info("draining for %g s", self._options.drain_seconds)
        await asyncio.sleep(self._options.drain_seconds)
        await server.stop(self._options.grace_seconds)
        await self._repository.close()
        self._compute.close()

    def _changed(self) -> None:
        self._health.set(self._servicer.ready)
        self._metrics.versions(self._options.endpoint, [slot.phase.value for slot in self._repository.slots])

    def _token(self) -> str | None:
        path = self._options.token_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            _log.error("%s: %s: nobody can show the right token now", path, error.strerror)
            return os.urandom(16).hex()


def _first_wanted(options: Options) -> wanted.Wanted:
    if options.artifact is not None:
        entry = wanted.WantedVersion(
            version="1",
            uri=options.artifact.resolve().as_uri(),
            digest=store.manifest_digest(options.artifact),
            weight=100,
        )
        return wanted.check(wanted.Wanted(model=options.endpoint, generation=0, versions=(entry,)))
    path = options.wanted
    if path is None:
        raise StartError("give --wanted FILE or --artifact FOLDER")
    try:
        first = wanted.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"--wanted: cannot read {path}: {error.strerror}") from None
    except wanted.WantedError as error:
        raise StartError(f"{path}: {error}") from None
    if first.model != options.endpoint:
        raise StartError(f"{path}: is for model '{first.model}', but --endpoint is '{options.endpoint}'")
    return first


def _cache(options: Options, cleanup: contextlib.ExitStack) -> Path:
    """Where verified copies lie: as told, or beside the wanted file, or in a folder that goes with the process."""
    if options.cache is not None:
        return options.cache
    if options.wanted is not None:
        return options.wanted.resolve().parent / "models"
    folder = Path(tempfile.mkdtemp(prefix="ringyard-serving-"))
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _check_port(host: str, port: int, option: str) -> None:
    """A plain bind first: gRPC's own failure prints stack traces of its core."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise StartError(
                f"{option}: cannot listen on {host}:{port}: {error.strerror}: free the port, or give 0 for any free one"
            ) from None


def _build() -> str:
    try:
        return version("ringyard")
    except PackageNotFoundError:  # a checkout on sys.path without an install
        return "0"
