"""`python -m ringyard_operator`: the processes that a user does not start by hand. `supervise` is started by
`--detach`, `operate` by the Deployment of an installation.

It wires options, signals and exit codes. Messages go to stderr, one sentence each, as everywhere. Each command imports
what it needs, so that neither carries the other's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringyard_api.problems import ManifestError
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import RingyardError
from ringyard_operator.observed import GroupSeen

if TYPE_CHECKING:
    from ringyard_operator.local.supervisor import Outcome
    from ringyard_operator.operate import Options

_EXITS = {"succeeded": 0, "suspended": 0, "deleted": 0, "failed": 1, "stopped": 130}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one supervisor, or the operator; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "operate":
            from ringyard_operator.operate import operate

            asyncio.run(operate(_options(chosen)))
            return 0
        outcome = asyncio.run(_supervise(chosen))
    except (RingyardError, ManifestError, OSError) as error:
        print(f"ringyard: {error}", file=sys.stderr)
        return 2
    print(f"ringyard: {outcome.ending}: {outcome.message}", flush=True)
    return _EXITS[outcome.ending]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ringyard_operator")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("supervise", help="look after one job of local mode (ringyard run --detach starts this)")
    one.add_argument("name")
    one.add_argument("--state-dir", type=Path, required=True)
    one.add_argument("--no-serve", action="store_true")
    one.add_argument("--metrics-port", type=int)
    _add_operate(commands.add_parser("operate", help="look after all jobs and endpoints of a cluster"))
    return parser


def _add_operate(parser: argparse.ArgumentParser) -> None:
    set_by = os.environ.get
    add = parser.add_argument
    add("--trainer-image", default=set_by("RINGYARD_TRAINER_IMAGE"), help="of workers whose job names none")
    add("--serving-image", default=set_by("RINGYARD_SERVING_IMAGE"), help="of model servers")
    add("--image-pull-secret", action="append", default=[], help="Secret in the job's namespace; may be repeated")
    add("--priority-class", default="", help="of pods whose job names none")
    add("--watch-namespace", action="append", default=[], help="may be repeated; default: all namespaces")
    add("--namespace", default=set_by("POD_NAMESPACE", "ringyard-system"), help="where the Lease and the Service are")
    add("--identity", default=set_by("POD_NAME", f"{socket.gethostname()}-{os.getpid()}"), help="in the Lease")
    add("--pod-ip", default=set_by("POD_IP", ""), help="where the Service of the coordinator leads to")
    add("--coordinator-service", default="ringyard-coordinator")
    add("--coordinator-port", type=int, default=7070)
    add("--coordinator-address", help="HOST:PORT that workers are told instead of the Service")
    add("--health-port", type=int, default=8080)
    add("--metrics-port", type=int, default=9090)
    add("--kubeconfig", type=Path, help="default: the pod's ServiceAccount, else $KUBECONFIG or ~/.kube/config")


def _options(chosen: argparse.Namespace) -> Options:
    from ringyard_operator.kube.office import Place
    from ringyard_operator.operate import Options
    from ringyard_operator.resources.setting import Setting

    for name in ("trainer_image", "serving_image"):
        if not getattr(chosen, name):
            option = name.replace("_", "-")
            raise RingyardError(f"--{option} is missing: give it, or set $RINGYARD_{name.upper()}")
    service = "" if chosen.coordinator_address else chosen.coordinator_service
    if service and not chosen.pod_ip:
        raise RingyardError("--pod-ip is missing: give it (in a pod $POD_IP), or --coordinator-address HOST:PORT")
    behind = f"{service}.{chosen.namespace}.svc:{chosen.coordinator_port}"
    return Options(
        setting=Setting(
            trainer_image=chosen.trainer_image,
            serving_image=chosen.serving_image,
            coordinator=chosen.coordinator_address or behind,
            image_pull_secrets=tuple(chosen.image_pull_secret),
            priority_class_name=chosen.priority_class,
        ),
        place=Place(
            namespace=chosen.namespace,
            identity=chosen.identity,
            ip=chosen.pod_ip,
            bind="[::]" if ":" in chosen.pod_ip else "0.0.0.0",
            port=chosen.coordinator_port,
            service=service,
        ),
        namespaces=tuple(dict.fromkeys(chosen.watch_namespace)),
        health_port=chosen.health_port,
        metrics_port=chosen.metrics_port,
        kubeconfig=chosen.kubeconfig,
    )


async def _supervise(chosen: argparse.Namespace) -> Outcome:
    from ringyard_operator.local.folders import StateDir
    from ringyard_operator.local.supervisor import supervise

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    said: list[str] = []

    def on_change(job: TrainingJob, group: GroupSeen | None) -> None:
        summary = next(
            (each for each in (job.status.conditions if job.status else ()) if each.type == "Succeeded"), None
        )
        if summary is not None and said[-1:] != [f"{summary.reason}: {summary.message}"]:
            said[:] = [f"{summary.reason}: {summary.message}"]
            print(f"ringyard: {said[0]}", flush=True)

    return await supervise(
        StateDir(chosen.state_dir),
        chosen.name,
        serve=not chosen.no_serve,
        metrics_port=chosen.metrics_port,
        on_change=on_change,
        stop=stop,
    )


if __name__ == "__main__":
    sys.exit(main())
