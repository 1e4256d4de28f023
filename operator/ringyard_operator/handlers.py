"""kopf's part: it watches TrainingJobs and ModelEndpoints, and hands each event on. Nothing else of kopf is used.

Started by `operate`. No timers, daemons, handlers of changes or peering: they would put finalizers and annotations on
the objects, and a deletion would wait for us. What is done about an event is decided elsewhere, level-triggered.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf

from ringyard_operator.errors import RingyardError
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, TRAINING_JOBS, Kind
from ringyard_operator.kube.known import Known
from ringyard_operator.kube.visitor import visitor

_EXIT_SECONDS = 2.0


async def watch(access: Access, known: Known, namespaces: Sequence[str], started: Callable[[], None]) -> None:
    """Fills `known` until it is cancelled; without `namespaces` from all of them. Raises what ends kopf otherwise.

    `started` is called once kopf has taken the process's signals, which it always does: they are the caller's.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    registry = kopf.OperatorRegistry()
    for kind in (TRAINING_JOBS, MODEL_ENDPOINTS):
        _watch_kind(registry, kind, known)

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=access.server, aiohttp_session=visitor(access), default_namespace=access.namespace
        )

    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )
    started()
    try:  # not kopf.run_tasks: at its end it cancels every task that is younger than kopf, ours too
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_EXIT_SECONDS)
    for task in done:
        if error := task.exception():
            raise RingyardError(f"the watch of our objects has ended: {error}") from error


def _watch_kind(registry: kopf.OperatorRegistry, kind: Kind, known: Known) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"see-{kind.plural}")  # type: ignore[arg-type, unused-ignore]
    async def see(event: kopf.RawEvent, **_: Any) -> None:
        known.heard(kind.kind, dict(event["object"]), gone=event["type"] == "DELETED")


class _Patience:
    """Pauses between attempts, without an end: an API server that is away is no reason to die."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1.0)
        yield from itertools.repeat(2.0)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no right to list CRDs and namespaces is needed
    settings.watching.inactivity_timeout = 70.0  # a bookmark comes each minute
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10.0
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = _Patience()
    settings.process.ultimate_exiting_timeout = None
    settings.queueing.exit_timeout = _EXIT_SECONDS
    settings.execution.max_workers = 1
    return settings
