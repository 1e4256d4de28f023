"""Who a worker is on a cluster: the ServiceAccount token that is projected into its Pod, as the API server reviews it.

The coordinator's servicer asks it on each call. A review stands for a minute, so a gang costs the API server one
request a worker and minute; while the API server is away it stands until the token itself ends, because training has
to go on. Which job a Pod belongs to is looked up anew at each call. It knows no gRPC.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ringyard_operator.coordinator.callers import Caller, CannotTell
from ringyard_operator.errors import RingyardError
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import TOKEN_REVIEWS, TRAINING_JOBS
from ringyard_operator.resources import names

GOOD_SECONDS = 60.0
BAD_SECONDS = 5.0
_POD_UID = "authentication.kubernetes.io/pod-uid"
_OVER = ("Succeeded", "Failed")
_MOST_KEPT = 10_000
_AT_ONCE = 16  # reviews under way
_PATIENCE = 0.5  # for a new review of a token that was good a minute ago: a report waits a second at most

Pod = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Review:
    """What the API server said of one token: the Pod that it was made for, or why not."""

    pod_uid: str
    refusal: str
    until: float  # asked again after that
    ends: float  # never believed after that


class PodTokens:
    """An `Authenticate` of the coordinator. `pod_of` finds a Pod of ours by its uid; `clock` is Unix time."""

    def __init__(
        self,
        api: Api,
        audience: str,
        pod_of: Callable[[str], Pod | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api, self._audience, self._pod_of, self._clock = api, audience, pod_of, clock
        self._reviews: dict[str, _Review] = {}
        self._under_way: dict[str, asyncio.Task[_Review]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def __call__(self, token: str) -> Caller | str:
        """The worker that a token was made for, or a sentence why not. Raises CannotTell."""
        ends = _end_of(token, self._audience)
        if ends is None:
            return f"the token is none of a Pod's for {self._audience}"
        review = await self._review(token, ends)
        if review.refusal:
            return review.refusal
        return _caller(review.pod_uid, self._pod_of(review.pod_uid))

    async def _review(self, token: str, ends: float) -> _Review:
        name, now = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        known = self._reviews.get(name)
        if known is not None and now < min(known.until, known.ends):
            return known
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = asyncio.create_task(self._ask(name, token, ends))
            task.add_done_callback(lambda done: self._over(name, done))
        believed = known is not None and not known.refusal and now < known.ends
        await asyncio.wait({task}, timeout=_PATIENCE if believed else None)
        if known is not None and believed and not task.done():
            return known
        if (error := task.exception()) is None:
            return task.result()
        if not isinstance(error, RingyardError):
            raise error
        if known is not None and believed:
            self._reviews[name] = replace(known, until=now + BAD_SECONDS)
            return known
        raise CannotTell(f"who the worker is cannot be told now: {error}") from error

    def _over(self, name: str, done: asyncio.Task[_Review]) -> None:
        del self._under_way[name]
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits for it any more

    async def _ask(self, name: str, token: str, ends: float) -> _Review:
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": [self._audience]},
        }
        async with self._places:
            status = (await self._api.create(TOKEN_REVIEWS, body)).get("status") or {}
        now = self._clock()
        pod_uid, refusal = _read(status, self._audience)
        seconds = BAD_SECONDS if refusal else GOOD_SECONDS
        review = _Review(pod_uid=pod_uid, refusal=refusal, until=now + seconds, ends=ends)
        self._forget_old(now)
        self._reviews[name] = review
        return review

    def _forget_old(self, now: float) -> None:
        if len(self._reviews) >= _MOST_KEPT:
            self._reviews = {name: each for name, each in self._reviews.items() if now < min(each.until, each.ends)}


def _read(status: Mapping[str, Any], audience: str) -> tuple[str, str]:
    """The Pod's uid and "", or "" and why not."""
    if not status.get("authenticated"):
        return "", f"the API server does not accept the token: {status.get('error') or 'it says no more'}"
    if audience not in (status.get("audiences") or ()):
        return "", f"the token is not made out to {audience}"
    uids = ((status.get("user") or {}).get("extra") or {}).get(_POD_UID) or ()
    return (str(uids[0]), "") if uids else ("", "the token is bound to no Pod")


def _caller(pod_uid: str, pod: Pod | None) -> Caller | str:
    """Whose worker a Pod is. One that we do not see (any more, or yet) is refused, and may ask again."""
    if pod is None:
        return f"there is no worker Pod with uid {pod_uid} (any more)"
    metadata = pod["metadata"]
    if (pod.get("status") or {}).get("phase") in _OVER:
        return f"pod {metadata['name']} has ended: nobody speaks for it any more"
    owners = metadata.get("ownerReferences") or ()
    job = next((each for each in owners if each.get("controller") and _is_job(each)), None)
    if job is None:
        return f"pod {metadata['name']} belongs to no TrainingJob"
    labels = metadata.get("labels") or {}
    try:
        place = (int(labels[names.INDEX]), int(labels[names.ATTEMPT]))
    except (KeyError, ValueError):
        return f"pod {metadata['name']} has lost its labels {names.INDEX} and {names.ATTEMPT}"
    return Caller(job_uid=str(job["uid"]), incarnation=pod_uid, place=place)


def _is_job(owner: Mapping[str, Any]) -> bool:
    group = str(owner.get("apiVersion", "")).partition("/")[0]
    return group == TRAINING_JOBS.group and owner.get("kind") == TRAINING_JOBS.kind


def _end_of(token: str, audience: str) -> float | None:
    """Unix seconds when a token ends by its own word, unproven; None for what cannot be a token for us.

    So that a stranger's guesses cost the API server nothing.
    """
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        return float(claims["exp"]) if audience in audiences else None
    except (IndexError, KeyError, TypeError, ValueError):
        return None
