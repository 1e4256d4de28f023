"""What the supervisor and the operator count and measure of their jobs, in a Prometheus registry of their own.

`local.supervisor` and `kube.jobkeeper` update it once a turn; it is served at `/metrics`. On a cluster every sample
says the job's namespace too. Names follow the Prometheus conventions (base units, `_total` for counters) and are listed
in docs/metrics.md. It decides nothing and knows no process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from ringyard_api.jobstatus import seconds
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.observed import GroupSeen, Observed, WorkerPhase

NAMES = (
    "ringyard_job_info",
    "ringyard_job_step",
    "ringyard_job_total_steps",
    "ringyard_job_loss",
    "ringyard_job_samples_per_second",
    "ringyard_job_condition",
    "ringyard_job_start_time_seconds",
    "ringyard_workers",
    "ringyard_workers_desired",
    "ringyard_view_size",
    "ringyard_view_changes_total",
    "ringyard_coordinator_term",
    "ringyard_restarts_total",
)


class Metrics(Collector):
    """Reads the last job and facts that it was given, at each scrape: so no value of a gone worker stays behind."""

    def __init__(self, registry: CollectorRegistry, *, namespaced: bool = False) -> None:
        self._namespaced = namespaced
        self._jobs: dict[tuple[str, ...], tuple[TrainingJob, Observed]] = {}
        self._server: WSGIServer | None = None
        self.registry = registry
        registry.register(self)

    def update(self, job: TrainingJob, observed: Observed) -> None:
        """Takes the newest facts of one job."""
        self._jobs[self._key(job.metadata.namespace, job.metadata.name)] = (job, observed)

    def forget(self, namespace: str, name: str) -> None:
        """The job is gone, or somebody else's now."""
        self._jobs.pop(self._key(namespace, name), None)

    def _key(self, namespace: str, name: str) -> tuple[str, ...]:
        return (namespace, name) if self._namespaced else (name,)

    def collect(self) -> Iterable[Metric]:
        """All families, each with a sample per job (prometheus_client's Collector)."""
        families = _families(["namespace", "job"] if self._namespaced else ["job"])
        for key, (job, observed) in sorted(self._jobs.items(), key=lambda item: item[0]):
            _add_job(families, key, job)
            _add_workers(families, key, job, observed)
            _add_group(families, key, observed.group)
        return list(families.values())

    def serve(self, port: int, host: str = "127.0.0.1") -> str:
        """Serves `/metrics` from a daemon thread; 0 = a free port. Returns `address`. Raises OSError where it is
        taken.
        """
        self._server, _ = start_http_server(port, addr=host, registry=self.registry)
        return self.address

    @property
    def address(self) -> str:
        """host:port of `/metrics`, "" while it is not served."""
        return "{}:{}".format(*self._server.server_address[:2]) if self._server is not None else ""

    def close(self) -> None:
        """Frees the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _families(whose: list[str]) -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    gauges = {
        "job_info": ("Name and uid of a job that this supervisor looks after.", ["uid"]),
        "job_step": ("Optimizer steps that are done.", []),
        "job_total_steps": ("Optimizer steps that the job will make.", []),
        "job_loss": ("Loss of the last global batch.", []),
        "job_samples_per_second": ("Samples that the whole group trains on in a second.", []),
        "job_condition": ("1 for the status that a condition has.", ["type", "status"]),
        "job_start_time_seconds": ("When the job started, Unix time.", []),
        "workers": ("Incarnations of workers by state.", ["state"]),
        "workers_desired": ("Workers that are wanted.", []),
        "view_size": ("Members of the view in force.", []),
        "coordinator_term": ("Term of the coordinator: rises with each supervisor.", []),
    }
    counters = {
        "view_changes": ("Views that were handed out.", []),
        "restarts": (
            "Restarts, counted against backoffLimit or not.",
            ["counted"],
        ),
    }
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for key, (text, labels) in gauges.items():
        families[key] = GaugeMetricFamily(f"ringyard_{key}", text, labels=[*whose, *labels])
    for key, (text, labels) in counters.items():
        families[key] = CounterMetricFamily(f"ringyard_{key}", text, labels=[*whose, *labels])
    return families


def _add_job(
    families: dict[str, GaugeMetricFamily | CounterMetricFamily], key: tuple[str, ...], job: TrainingJob
) -> None:
    families["job_info"].add_metric([*key, job.metadata.uid or ""], 1)
    families["workers_desired"].add_metric([*key], job.spec.workers.replicas)
    status = job.status
    if status is None:
        return
    for condition in status.conditions:
        families["job_condition"].add_metric([*key, condition.type, condition.status], 1)
    if status.start_time:
        families["job_start_time_seconds"].add_metric([*key], seconds(status.start_time))
    if status.restarts is not None:
        families["restarts"].add_metric([*key, "true"], status.restarts.counted or 0)
        families["restarts"].add_metric([*key, "false"], status.restarts.ignored or 0)


def _add_workers(
    families: dict[str, GaugeMetricFamily | CounterMetricFamily],
    key: tuple[str, ...],
    job: TrainingJob,
    observed: Observed,
) -> None:
    for phase in WorkerPhase:
        count = sum(1 for worker in observed.workers if worker.phase == phase)
        families["workers"].add_metric([*key, phase.value.lower()], count)


def _add_group(
    families: dict[str, GaugeMetricFamily | CounterMetricFamily], key: tuple[str, ...], group: GroupSeen | None
) -> None:
    if group is None:
        return
    families["job_step"].add_metric([*key], group.step)
    families["job_total_steps"].add_metric([*key], group.total_steps)
    families["job_loss"].add_metric([*key], math.nan if group.loss is None else group.loss)
    families["job_samples_per_second"].add_metric([*key], group.samples_per_second or 0.0)
    families["view_size"].add_metric([*key], group.view_size)
    families["view_changes"].add_metric([*key], group.view_changes)
    families["coordinator_term"].add_metric([*key], group.term)
