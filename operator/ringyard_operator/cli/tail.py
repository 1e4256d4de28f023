"""The log of one worker on this machine, read as it grows. `on_disk` calls it; it knows one file and no job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
