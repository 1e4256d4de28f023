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


class KubeError(RingyardError):
    """The API server said no, or nothing.

    Attributes:
        status: the HTTP status, 0 where there was no answer.
        reason: the API server's own word for it, such as `AlreadyExists`; may be empty.
        message: what the API server said, without what was asked of it.
        retry_after: seconds after which it wants to be asked again, where it said so.
    """

    def __init__(
        self, sentence: str, *, status: int = 0, reason: str = "", message: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.message = status, reason, message or sentence
        self.retry_after = retry_after


class KubeNotFound(KubeError):
    """There is no such object, or not the namespace that it would be in."""


class KubeKindUnknown(KubeError):
    """The cluster serves no such kind: its CustomResourceDefinition is not installed. It says nothing of objects."""


class KubeConflict(KubeError):
    """Somebody else wrote the object since it was read, or owns the field."""


class KubeExists(KubeError):
    """An object of that name is there already."""


class KubeForbidden(KubeError):
    """Who asks may not do that: RBAC, a quota, an admission policy, or no valid credentials."""


class KubeInvalid(KubeError):
    """The API server takes no such object."""


class KubeExpired(KubeError):
    """The version to watch from is too old: only a fresh list helps."""


class KubeUnreachable(KubeError):
    """No answer, or one that says `later`: asking again is the remedy."""


class ClusterUnknown(RingyardError):
    """The kubeconfig cannot be read, or has no such context or no usable credentials."""
