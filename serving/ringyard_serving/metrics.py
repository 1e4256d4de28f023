"""What the server counts, in a registry of its own, under names that stay (docs/metrics.md).

The servicer counts requests, the server's shell sets the gauges and opens the port. Label values come from what is
served, never from what a caller sends, so that nobody can flood the registry. It knows no gRPC.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PHASES = ("loading", "ready", "unloading", "failed")


class ServerMetrics:
    """All metrics of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ringyard_server_requests_total",
            "Inference requests by the status they ended with; version is empty where none was reached.",
            ("model", "version", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ringyard_server_request_seconds",
            "Seconds from the arrival of an inference request to its answer.",
            ("model", "version"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._inference = Histogram(
            "ringyard_server_inference_seconds",
            "Seconds in the model itself.",
            ("model", "version"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._pending = Gauge(
            "ringyard_server_pending_requests", "Inference requests that wait or run.", registry=self.registry
        )
        self._versions = Gauge(
            "ringyard_server_model_versions",
            "Versions of the model by phase.",
            ("model", "phase"),
            registry=self.registry,
        )

    def answered(self, model: str, version: str, code: str, seconds: float) -> None:
        """One inference request has ended, with this gRPC status name."""
        self._requests.labels(model, version, code).inc()
        self._seconds.labels(model, version).observe(seconds)

    def computed(self, model: str, version: str, seconds: float) -> None:
        """The model has run once."""
        self._inference.labels(model, version).observe(seconds)

    def pending(self, count: int) -> None:
        """So many requests wait or run now."""
        self._pending.set(count)

    def versions(self, model: str, phases: Iterable[str]) -> None:
        """The phases of all versions now."""
        tally = Tally(phases)
        for phase in PHASES:
            self._versions.labels(model, phase).set(tally[phase])

    def serve(self, host: str, port: int) -> int:
        """Opens /metrics; 0 = any free port. Returns the port. Raises `OSError` if it is taken."""
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)
