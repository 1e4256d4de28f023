"""Where jobs and endpoints are kept, as the commands see it: a state folder (`on_disk`) or a cluster (`on_cluster`).

The commands know only this, so that they answer the same everywhere. `options.source()` gives the one that the user
chose. It knows nothing of how either does it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.cli.exits import BadInput

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Care:
    """Who looks after a job or an endpoint.

    Attributes:
        alive: whether somebody does.
        pid: the process that does, in local mode.
        makes: the command that lets a job go on.
        unseen: what to say of a job that nobody has looked at yet.
    """

    alive: bool
    pid: int | None = None
    makes: str = "ringyard run"
    unseen: str = "it was submitted, and its supervisor has not looked at it yet"


class Source(Protocol):
    """Raises `NoSuch` for a name that is not there, with the nearest known one, and `TimedOut` after `timeout` s."""

    place: str  # for a sentence: `/root/.local/state/ringyard`, `namespace a of context b`
    makes: str  # the command that makes a job, and lets a stopped one go on: `ringyard run`
    flags: str  # options that lead another command to the same place, a blank before each

    def jobs(self) -> list[TrainingJob]:
        """All jobs by name; what cannot be read is said, and hides nothing else."""

    def job(self, name: str) -> TrainingJob:
        """One job with its status."""

    def care(self, job: TrainingJob) -> Care:
        """Who looks after it."""

    def pause(self, name: str, seconds: float) -> None:
        """Returns when the job may have changed, after so many seconds at the latest."""

    def logs(self, name: str, worker: int | None, follow: bool, show: Callable[[str], None]) -> None:
        """Shows each line that the workers printed, `[1] ` before one of worker 1; with `follow` until the job ends."""

    def scale(self, name: str, replicas: int) -> int:
        """Changes the number of workers; answers with what it was."""

    def stop(self, name: str, timeout: float) -> TrainingJob:
        """Stops a job with a checkpoint and waits until its workers are gone."""

    def delete(self, name: str, timeout: float) -> None:
        """Stops and removes a job, and waits until nothing of it runs."""

    def endpoints(self) -> list[ModelEndpoint]:
        """All endpoints by name, as `jobs`."""

    def endpoint(self, name: str) -> ModelEndpoint:
        """One endpoint with its status."""

    def served(self, endpoint: ModelEndpoint) -> bool:
        """Whether somebody looks after it."""

    def ask(self, endpoint: ModelEndpoint, question: Callable[[str], T]) -> T:
        """`question(address)` with the host and port of a ready server. Raises `Unavailable` where there is none."""

    def delete_endpoint(self, name: str, timeout: float) -> None:
        """Ends what serves, and removes the endpoint."""

    def job_names(self) -> list[str]:
        """For completion."""

    def endpoint_names(self) -> list[str]:
        """For completion."""


def checked(name: str, kind: str) -> str:
    """A name is a part of a path: what can be no name at all is refused before any path is made of it."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise BadInput(f"{name!r} is no name of a {kind}: names are lower-case letters, digits and dashes")
    return name


def near(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a part of a sentence, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
