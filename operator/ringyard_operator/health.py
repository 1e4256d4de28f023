"""Whether this operator works, for the kubelet: `/healthz` fails where only a restart helps, `/readyz` until it knows.

Made by `operate`. A watch that has gone silent looks like a quiet cluster, so every minute our own list is compared
with what the watch brought; what is missing is taken from the list, and if the watch still owes it 30 s later the
process is not healthy. A loop that stands still answers nothing at all, and fails the probe by that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiohttp import web

from ringyard_operator.errors import ClusterUnknown, KubeError
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, TRAINING_JOBS
from ringyard_operator.kube.known import Known

COMPARE_SECONDS = 60.0
SILENT_SECONDS = 30.0
_STORE_SECONDS = 180.0  # a stream that is cut after 70 s of silence, and an API server that is away for a minute

log = logging.getLogger(__name__)


class Health:
    """The two answers and the comparison behind them. `streams_age`: seconds since the pods' streams lived."""

    def __init__(self, known: Known, streams_age: Callable[[], float], namespaces: Sequence[str]) -> None:
        self._known, self._streams_age, self._namespaces = known, streams_age, tuple(namespaces)
        self._runner: web.AppRunner | None = None
        self.warm = False
        self._reached = True

    async def serve(self, port: int) -> None:
        """Answers at all addresses. Raises OSError where the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=port).start()

    async def close(self) -> None:
        """Frees the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def compare(self, api: Api) -> None:
        """For ever: our own list against the watch's picture."""
        while True:
            await self.compare_once(api)
            await asyncio.sleep(COMPARE_SECONDS)

    async def compare_once(self, api: Api) -> None:
        """One comparison; the first makes the caches warm."""
        try:
            for namespace in self._namespaces or ("",):
                for kind in (TRAINING_JOBS, MODEL_ENDPOINTS):
                    found, version = await api.listing(kind, namespace)
                    missed = self._known.listed(kind, found, version, namespace)
                    if missed and self.warm:
                        log.info("the watch of %s had not brought %d objects that a list shows", kind.resource, missed)
            self.warm = self._reached = True
        except (KubeError, ClusterUnknown) as error:
            if self._reached:
                log.warning("the API server cannot be asked: %s", error)
            self._reached = False

    def trouble(self) -> str:
        """Why only a restart helps; empty while all is well. An API server that is away is no reason."""
        silence = self._known.silence()
        if self._reached and silence > SILENT_SECONDS:
            return f"the watch has not brought for {silence:.0f} s what a list shows"
        age = self._streams_age()
        if self._reached and age > _STORE_SECONDS:
            return f"the streams of pods have been silent for {age:.0f} s"
        return ""

    async def _healthz(self, _: web.Request) -> web.Response:
        trouble = self.trouble()
        return web.Response(status=503 if trouble else 200, text=(trouble or "ok") + "\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.warm:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the objects are not all known yet\n")
