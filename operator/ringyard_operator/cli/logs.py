"""`ringyard logs`: what the workers printed, each line with its worker's number before it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ringyard_operator.cli.exits import NoSuch
from ringyard_operator.cli.options import examples, job_folder, job_name, shared

POLL_SECONDS = 0.2
_BLOCK_BYTES = 1 << 20


class Tail:
    """The lines of one worker's log as they come; a line that is not finished yet waits for its end."""

    def __init__(self, worker: int, path: Path) -> None:
        self._worker, self._path = worker, path
        self._at, self._rest = 0, b""

    def lines(self) -> Iterator[str]:
        """The lines since the last call, with `[worker] ` before each. A log that was made anew is read from its
        start. However long it is, little of it is in memory.
        """
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as log:
            if log.seek(0, 2) < self._at:
                self._at, self._rest = 0, b""
            log.seek(self._at)
            while data := log.read(_BLOCK_BYTES):
                self._at += len(data)
                *whole, self._rest = (self._rest + data).split(b"\n")
                yield from map(self._marked, whole)

    def rest(self) -> list[str]:
        """The last line if nothing ended it."""
        line, self._rest = self._rest, b""
        return [self._marked(line)] if line else []

    def _marked(self, line: bytes) -> str:
        return f"[{self._worker}] {line.decode('utf-8', 'replace').rstrip(chr(13))}"


@click.command(
    epilog=examples("ringyard logs digits", "ringyard logs digits --worker 0", "ringyard logs digits --follow")
)
@job_name
@click.option("--worker", type=click.IntRange(min=0), metavar="I", help="Only this worker.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@shared
def logs(name: str, worker: int | None, follow: bool) -> None:
    """Print what the workers of a job printed; `[1]` before a line says that worker 1 did."""
    from ringyard_operator.cli.describe import finished

    tails: dict[int, Tail] = {}
    while True:
        folder = job_folder(name)
        over = not follow or finished(folder.read()) or folder.holder() is None
        if over and follow:
            time.sleep(POLL_SECONDS)  # the last words of a worker come after the job's end
        _print_new(tails, folder.worker_logs(), worker, over)
        if over:
            break
        time.sleep(POLL_SECONDS)
    if worker is not None and worker not in tails:
        known = ", ".join(str(index) for index in sorted(folder.worker_logs())) or "none yet"
        raise NoSuch(f"job {name!r} has no log of worker {worker}: there are logs of {known}")


def _print_new(tails: dict[int, Tail], found: dict[int, Path], worker: int | None, over: bool) -> None:
    for index in sorted(found):
        if worker in (None, index):
            tails.setdefault(index, Tail(index, found[index]))
    for tail in tails.values():
        for line in tail.lines():
            click.echo(line)
        for line in tail.rest() if over else ():
            click.echo(line)
