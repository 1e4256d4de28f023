"""`python -m ringyard_operator`: the processes that a user does not start by hand. Now `supervise`, started by
`--detach`.

It wires signals and exit codes. Messages go to stderr, one sentence each, as everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ringyard_api.problems import ManifestError
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import RingyardError
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.supervisor import Ending, Outcome, supervise
from ringyard_operator.observed import GroupSeen

_EXITS = {Ending.SUCCEEDED: 0, Ending.SUSPENDED: 0, Ending.DELETED: 0, Ending.FAILED: 1, Ending.STOPPED: 130}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one supervisor; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ringyard_operator")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("supervise", help="look after one job of local mode (ringyard run --detach starts this)")
    one.add_argument("name")
    one.add_argument("--state-dir", type=Path, required=True)
    one.add_argument("--no-serve", action="store_true")
    one.add_argument("--metrics-port", type=int)
    chosen = parser.parse_args(arguments)
    try:
        outcome = asyncio.run(_supervise(chosen))
    except (RingyardError, ManifestError) as error:
        print(f"ringyard: {error}", file=sys.stderr)
        return 2
    print(f"ringyard: {outcome.ending}: {outcome.message}", flush=True)
    return _EXITS[outcome.ending]


async def _supervise(chosen: argparse.Namespace) -> Outcome:
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
