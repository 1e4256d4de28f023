"""What a training process tells Prometheus, under its own registry and on a port of its own.

Called by `__main__`; `loop` sets the values. The engine's counters are read at scrape time. Names: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

Reading = tuple[str, str, float]  # name, help, value


class WorkerMetrics:
    """Counters and gauges of one training process."""

    def __init__(self) -> None:
        self.registry = here = CollectorRegistry()
        self.steps = Counter("ringyard_worker_steps", "Optimizer steps that this process took part in.", registry=here)
        self.samples = Counter("ringyard_worker_samples", "Samples that this process itself computed.", registry=here)
        self.loss = Gauge("ringyard_worker_loss", "Loss of the last global batch.", registry=here)
        self.rate = Gauge("ringyard_worker_group_samples_per_second", "Samples a second of the group.", registry=here)
        self.members = Gauge("ringyard_worker_view_members", "Members of the present view.", registry=here)
        self.checkpoints = Counter("ringyard_worker_checkpoints", "Checkpoints written.", ["outcome"], registry=here)

    def watch(self, read: Callable[[], Iterator[Reading]]) -> None:
        """Adds counters that somebody else keeps (the engine's), read at each scrape."""
        self.registry.register(_Engine(read))

    def serve(self, host: str) -> str:
        """Serves them on a free port of `host`; returns host:port, "" where no port could be had."""
        try:
            server, _ = start_http_server(0, addr=host, registry=self.registry)
        except OSError:
            return ""
        return f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"


class _Engine(Collector):
    def __init__(self, read: Callable[[], Iterator[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for name, text, value in self._read():
            yield CounterMetricFamily(name, text, value=value)
