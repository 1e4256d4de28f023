"""Who speaks: from a bearer token to the job and the worker that it stands for.

Made by the shells (`local.training` with one token a job, `kube.tokens` with the pods' own), asked by the servicer.
It knows no gRPC and no Kubernetes.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whom a token stands for.

    Attributes:
        job_uid: the only job that it may speak to.
        incarnation: the worker that it is; None where one token serves all workers of a job.
        place: worker index and attempt; None as above.
    """

    job_uid: str
    incarnation: str | None = None
    place: tuple[int, int] | None = None


class CannotTell(Exception):
    """Nobody can say now whom a token stands for: the caller is neither known nor refused, and asks again."""


Authenticate = Callable[[str], Awaitable[Caller | str]]
"""From a bearer token to its caller, or a sentence why not. Raises CannotTell."""


def one_token(token: str, job_uid: str) -> Authenticate:
    """All workers of one job share a token; it is compared in constant time."""
    expected = token.encode()

    async def authenticate(given: str) -> Caller | str:
        if hmac.compare_digest(given.encode(), expected):
            return Caller(job_uid=job_uid)
        return "the token is not the one of this job"

    return authenticate


def disagreement(caller: Caller, *, incarnation: str, index: int, attempt: int) -> str:
    """Why a caller may not speak as that worker; "" if it may."""
    if caller.incarnation is not None and caller.incarnation != incarnation:
        return f"the token is that of worker {caller.incarnation}, it may not speak for {incarnation or 'nobody'}"
    if caller.place is not None and caller.place != (index, attempt):
        held = f"index {caller.place[0]}, attempt {caller.place[1]}"
        return f"worker {incarnation} is of {held}, it may not stand at index {index}, attempt {attempt}"
    return ""
