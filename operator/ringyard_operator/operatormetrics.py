"""What the operator counts of itself: turns, how long they took, how they failed, and whether it is in office.

`kube.office` feeds it; it is served in the registry of `Metrics`. It knows no job.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ringyard_operator.errors import RingyardError

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class OperatorMetrics:
    """One process. A key of the queue counts by its kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "ringyard_operator_reconcile_seconds",
            "How long one turn of an object took.",
            ["kind"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "ringyard_operator_reconcile_errors",
            "Turns that failed and are tried again, by what failed.",
            ["kind", "error"],
            registry=registry,
        )
        self._leader = Gauge("ringyard_operator_leader", "1 while this process holds the Lease.", registry=registry)
        self._term = Gauge("ringyard_operator_term", "Term of the last office that was held.", registry=registry)

    def turned(self, kind: str, seconds: float, error: BaseException | None) -> None:
        """One turn is over."""
        self._seconds.labels(kind).observe(seconds)
        if error is not None:
            name = type(error).__name__ if isinstance(error, RingyardError) else "bug"
            self._errors.labels(kind, name).inc()

    def in_office(self, term: int) -> None:
        """The Lease was taken."""
        self._leader.set(1)
        self._term.set(term)

    def out_of_office(self) -> None:
        """The Lease was lost or given back."""
        self._leader.set(0)
