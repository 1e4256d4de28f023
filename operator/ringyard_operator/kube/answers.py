"""What the API server's refusals mean: one place that turns an HTTP status and a `Status` object into our error tree.

Called by `api`. Source: kubernetes/apimachinery pkg/api/errors; the sentence is the API server's own, which names the
object and what is wrong with it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from ringyard_operator import errors
from ringyard_operator.kube.access import Access

_CLASSES: Mapping[int, type[errors.KubeError]] = {
    400: errors.KubeInvalid,
    401: errors.KubeForbidden,
    403: errors.KubeForbidden,
    404: errors.KubeNotFound,
    408: errors.KubeUnreachable,
    409: errors.KubeConflict,
    410: errors.KubeExpired,
    413: errors.KubeInvalid,
    415: errors.KubeInvalid,
    422: errors.KubeInvalid,
    429: errors.KubeUnreachable,
}


def as_error(status: int, said: Mapping[str, Any], what: str, place: str, retry_after: str = "") -> errors.KubeError:
    """The error of an answer: `said` is the `Status` object, or a mapping with just a message."""
    reason = str(said.get("reason") or "")
    message = " ".join(str(said.get("message") or f"HTTP {status}").split())
    kind = _CLASSES.get(status, errors.KubeUnreachable if status >= 500 or not status else errors.KubeError)
    if status == 409 and reason == "AlreadyExists":
        kind = errors.KubeExists
    if status == 404 and not reason:  # the path itself is unknown: plain text, no Status
        kind, message = errors.KubeKindUnknown, f"the cluster knows no {what.split()[1]}"
    if status == 401:
        message = f"the credentials of {place} are not accepted"
    if status == 429 and (said.get("details") or {}).get("causes"):
        kind = errors.KubeForbidden  # an eviction that a disruption budget forbids: no sign of an overloaded server
    wait = (said.get("details") or {}).get("retryAfterSeconds") or retry_after
    seconds = None
    with contextlib.suppress(TypeError, ValueError):
        seconds = float(wait) if wait else None
    sentence = f"{what}: {message}"
    return kind(sentence, status=status, reason=reason, message=message, retry_after=seconds)


def unreachable(error: BaseException, what: str, access: Access) -> errors.KubeError:
    """No answer: who does not answer, and why as far as it can be told."""
    why = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        why = "no answer in time"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        why = f"its certificate is not trusted ({error})"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or str(error.os_error) or "it cannot be reached"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        why = "the connection was closed"
    sentence = f"{what}: the API server {access.server} of {access.name} does not answer: {why}"
    return errors.KubeUnreachable(sentence, message=why)
