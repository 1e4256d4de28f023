"""The operator's error tree: what a shell (`cli`, `__main__`) turns into one sentence and one exit code, once.

Raised by `local`; a manifest's own problems are `ringyard_api`'s ManifestError. It knows no exit code and prints
nothing. Every message is one clear sentence for a user: it names the place and the remedy.
"""

from __future__ import annotations


class RingyardError(Exception):
    """Anything that a user can be told in one sentence. `str(error)` is that sentence."""


class StateUnusable(RingyardError):
    """The state folder cannot be read or written."""


class NotFound(RingyardError):
    """There is no job, or no endpoint, of that name."""


class Conflict(RingyardError):
    """Somebody else wrote the spec since it was read. Reading it again and deciding anew is the remedy."""


class AlreadyRunning(RingyardError):
    """A live supervisor holds the job or the endpoint.

    Attributes:
        pid: process id of that supervisor, 0 where it has not said so yet.
    """

    def __init__(self, message: str, *, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class NotChangeable(RingyardError):
    """The wanted change of a spec is not allowed: an immutable field, or a value out of bounds."""


class PortTaken(RingyardError):
    """A port that the manifest names is in use by somebody else."""


class LaunchFailed(RingyardError):
    """A process of ours could not be started, or ended before it was of use."""


class LaunchRefused(LaunchFailed):
    """It ended at once and said that what it was given is at fault."""
