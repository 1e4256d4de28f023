"""The command line of the model server: what it is told at its start, checked before anything is opened.

The server's shell reads it. It opens no file and knows no gRPC.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MESSAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve. Exactly one of `wanted` and `artifact` is set."""

    endpoint: str
    wanted: Path | None
    artifact: Path | None
    host: str
    port: int
    metrics_port: int | None
    token_file: Path | None
    address_file: Path | None
    cache: Path | None
    store_seconds: float
    owner_timeout: float  # seconds; 0 = never
    connection_seconds: float  # 0 = never
    drain_seconds: float
    grace_seconds: float
    threads: int
    queue: int
    message_bytes: int


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options; wrong ones end the process with exit code 2 and a sentence."""
    parser = argparse.ArgumentParser(
        prog="ringyard-serving",
        description="Serves the versions of one endpoint over the Open Inference Protocol v2 (gRPC).",
        epilog="example: python -m ringyard_serving --endpoint digits --artifact runs/digits/model --port 8001",
    )
    _add_what(parser)
    _add_where(parser)
    _add_how(parser)
    given = parser.parse_args(arguments)
    for name in ("port", "metrics_port"):
        if not 0 <= (getattr(given, name) or 0) <= 65535:
            parser.error(f"--{name.replace('_', '-')}: must be 0 (any free port) to 65535")
    return Options(**vars(given))


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint", required=True, help="name of the endpoint = name of the model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--wanted", type=Path, help="JSON file that names the versions to serve, read at the start")
    what.add_argument("--artifact", type=Path, help="one model's folder, served as version 1")
    parser.add_argument("--cache", type=Path, help="folder for verified copies (default: 'models' beside --wanted)")
    parser.add_argument(
        "--store-seconds", type=float, default=0.0, help="how long to look again for an artifact that is not there"
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="gRPC port; 0 = any free one")
    parser.add_argument("--metrics-port", type=int, help="port of /metrics; 0 = any free one; absent = none")
    parser.add_argument(
        "--token-file", type=Path, help="bearer token that the endpoint's owner must show, or sha256: and its digest"
    )
    parser.add_argument("--address-file", type=Path, help="where to write the addresses once they are open")


def _add_how(parser: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    parser.add_argument("--owner-timeout", type=float, default=0.0, help="end after this silence in s; 0 = never")
    parser.add_argument(
        "--connection-seconds", type=float, default=0.0, help="ask clients to connect anew after this; 0 = never"
    )
    parser.add_argument("--drain-seconds", type=float, default=1.0, help="keep answering so long after SIGTERM")
    parser.add_argument("--grace-seconds", type=float, default=30.0, help="then let what is in flight end within this")
    parser.add_argument("--threads", type=int, default=min(2, cores), help="requests computed at once")
    parser.add_argument("--queue", type=int, default=1024, help="requests that may wait or run; more are refused")
    parser.add_argument("--message-bytes", type=int, default=MESSAGE_BYTES, help="largest message, in bytes")
