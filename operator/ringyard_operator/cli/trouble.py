"""Where trouble goes: one sentence to stderr, and the same with the time to `STATE/ringyard.log`.

Called by `cli.main` and by commands that warn. Tracebacks are written only with `--debug`, to both places. The log
never makes trouble of its own: a state folder that cannot be written is no reason to hide the sentence that was to be
logged.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

LOG_NAME = "ringyard.log"
LOG_BYTES = 2_000_000  # then it is moved to ringyard.log.1, and that one is lost


@dataclass(kw_only=True)
class Trouble:
    """What one command line call needs to say what went wrong: the folder of its log, the words it was called with."""

    command: str = ""
    debug: bool = False
    state: Path | None = None  # set as soon as the options are read; None = the default folder
    written: list[str] = field(default_factory=list)

    def say(self, message: str, error: BaseException | None = None) -> None:
        """Prints `ringyard: LINE` for each line to stderr and logs it; with `--debug` the traceback of `error`
        follows in both.
        """
        trace = "".join(traceback.format_exception(error)) if error is not None and self.debug else ""
        for line in message.splitlines():
            print(f"ringyard: {line}", file=sys.stderr)
        if trace:
            print(trace, end="", file=sys.stderr)
        self.log(message, trace)

    def log(self, message: str, trace: str = "") -> None:
        """Appends to the log file, if there can be one."""
        path = self._path()
        if path is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = f"{stamp} ringyard {self.command}: {message}\n{trace}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > LOG_BYTES:
                path.replace(path.with_name(f"{LOG_NAME}.1"))
            with path.open("a", encoding="utf-8") as log:
                log.write(text)
        except OSError:
            return
        self.written.append(str(path))

    def _path(self) -> Path | None:
        if self.state is not None:
            return self.state / LOG_NAME
        from ringyard_operator.local.folders import StateDir

        try:
            return StateDir.default().root / LOG_NAME
        except (OSError, RuntimeError):  # no home folder can be told
            return None
