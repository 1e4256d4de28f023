"""grpc.health.v1 Check and Watch: what kubelets, load balancers and client-side balancers ask.

Our own servicer, because grpcio-health-checking's asyncio one forgets all watchers of a service when the first of
them leaves (1.85, `_async.py`: it deletes the shared condition). Services: "" and the model's name. The shell sets the
status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

Response = health_pb2.HealthCheckResponse


class Health:
    """One status for the server and its model: they are ready together."""

    def __init__(self, model: str) -> None:
        self._services = ("", model)
        self._serving = False
        self._changed = asyncio.Event()

    def set(self, serving: bool) -> None:
        """Tells everybody who watches."""
        if serving != self._serving:
            self._serving = serving
            self._changed.set()
            self._changed = asyncio.Event()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The status now; NOT_FOUND for a service that is not ours."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service '{request.service}' here")
        return Response(status=self._status(request.service))

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        """The status now and at each change; SERVICE_UNKNOWN for a service that is not ours."""
        told: int | None = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != told:
                told = status
                yield Response(status=status)
            await changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(Response.SERVICE_UNKNOWN)
        return int(Response.SERVING if self._serving else Response.NOT_SERVING)
