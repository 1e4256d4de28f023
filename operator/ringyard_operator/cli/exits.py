"""The exit codes that scripts rely on, and the one error that a command raises to end with one of them.

Every module of the command line raises `CommandError`; `cli.main` turns it, and the error trees of the other rooms,
into an exit code once. It knows nothing of jobs, files or terminals.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended. The numbers are part of the interface (docs/cli.md)."""

    DONE = 0
    JOB_FAILED = 1  # the job failed, or what was asked of a job or server cannot be had
    BAD_INPUT = 2  # the manifest, the data, the arguments: nothing was started
    NO_SUCH = 3  # no job, endpoint or worker of that name
    TIMED_OUT = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """One sentence for a user that names the place and the remedy, and the exit code that goes with it."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(CommandError):
    """The thing exists, but the answer cannot be had from it (a failed job, a server that does not answer)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.JOB_FAILED)


class BadInput(CommandError):
    """What the user gave is at fault; nothing was started or changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.BAD_INPUT)


class NoSuch(CommandError):
    """No job, endpoint or worker of that name. The nearest known name is part of the sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NO_SUCH)


class TimedOut(CommandError):
    """The time that `--timeout` gave is over."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.TIMED_OUT)
