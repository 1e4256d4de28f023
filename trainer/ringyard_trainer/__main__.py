"""The training process of a declared fit: `python -m ringyard_trainer`, started by the worker's agent.

It reads the launch contract, puts fit, gang and loop together, and turns every ending into an exit code and one
sentence on stderr, its last line. No traceback reaches a user unless RINGYARD_DEBUG is set. It decides nothing else.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ringyard_api import launch
from ringyard_api.launch import WorkerLaunch

if TYPE_CHECKING:
    from ringyard_trainer.collective.gang import Stats

_EXIT_INTERNAL = 1
_EXIT_OUT_OF_MEMORY = 137  # as if the kernel had struck: counted, tried again


def main() -> int:
    """Runs one training process; the exit code of `ringyard_api.launch`. A user's own SystemExit passes through."""
    signal.signal(signal.SIGTERM, _go)  # while loading there is nothing to leave
    from ringyard_trainer.collective.outcomes import Fenced, Finished, Terminated
    from ringyard_trainer.errors import TrainerError, out_of_memory

    try:
        _train(WorkerLaunch.from_environment(os.environ))
    except Finished:
        return launch.EXIT_RESULT_STANDS
    except (Terminated, Fenced) as outcome:
        return _told(outcome, launch.EXIT_TERMINATED)
    except TrainerError as error:
        return _told(error, error.exit_code)
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it ends in one sentence
        if out_of_memory(error):
            return _told(error, _EXIT_OUT_OF_MEMORY, "out of memory: ")
        return _told(error, _EXIT_INTERNAL, f"{type(error).__name__}: ")
    return launch.EXIT_RESULT_STANDS


def _train(worker: WorkerLaunch) -> None:
    begun = time.monotonic()
    import torch
    from ringyard_api.loading import from_object

    from ringyard_trainer.collective.gang import Gang
    from ringyard_trainer.errors import BadInput
    from ringyard_trainer.fit import prepare
    from ringyard_trainer.loop import Loop, say
    from ringyard_trainer.metrics import WorkerMetrics

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    job = from_object(json.loads(Path(worker.spec_file).read_text()), worker.spec_file)
    if job.kind != "TrainingJob":
        raise BadInput("kind", f"is {job.kind}, but a worker needs a TrainingJob")
    fit = prepare(job, Path(worker.run_dir))
    say(f"ready after {time.monotonic() - begun:.1f} s: {len(fit.data.parts.train)} training samples")
    metrics = WorkerMetrics()
    gang = Gang(worker, metrics_address=metrics.serve(worker.host))
    metrics.watch(lambda: _engine(gang.stats))
    signal.signal(signal.SIGTERM, lambda _number, _frame: gang.leave("SIGTERM"))
    try:
        Loop(fit, gang, metrics).run()
    finally:
        gang.close()


def _engine(stats: Stats) -> Iterator[tuple[str, str, float]]:
    """The engine's counters under their names for Prometheus."""
    yield "ringyard_worker_allreduce_seconds", "Seconds spent in AllReduce.", stats.allreduce_seconds
    yield "ringyard_worker_allreduces", "AllReduce operations completed.", stats.allreduce_count
    yield "ringyard_worker_sent_bytes", "Bytes sent to other members.", stats.bytes_sent
    yield "ringyard_worker_received_bytes", "Bytes received from other members.", stats.bytes_received
    yield "ringyard_worker_view_changes", "Views joined after the first.", stats.view_changes


def _go(number: int, frame: FrameType | None) -> None:
    os._exit(launch.EXIT_TERMINATED)  # an exception would be lost in an import or a callback that catches all


def _exit(code: int) -> NoReturn:
    """Ends the process without taking the interpreter apart: with torch loaded that costs 0.5 s of CPU a worker."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _told(error: Exception, code: int, before: str = "") -> int:
    if os.environ.get("RINGYARD_DEBUG"):
        traceback.print_exception(error)
    print(f"ringyard: {before}{' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    _exit(main())
