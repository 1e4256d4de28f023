"""Writes docs/metrics.md from the metrics that the services really have (`make generate`; --check for `make verify`).

It makes an idle one of each service's registry and lists what is in it, so that a metric without a row cannot exist.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from ringyard_operator.metrics import Metrics
from ringyard_operator.operatormetrics import OperatorMetrics
from ringyard_serving.metrics import ServerMetrics
from ringyard_trainer.__main__ import _engine
from ringyard_trainer.collective.gang import Stats
from ringyard_trainer.metrics import WorkerMetrics

TARGET = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
OPENING = """# Metrics

Made by `hack/metrics_doc.py` from the code (`make generate`); a test and `make verify` hold the two together. Names and
labels stay; new ones are only added. Each process serves its own at `/metrics`; `ringyard run --metrics-port P`
opens the supervisor's, workers and servers take free ports. In local mode `STATE/jobs/NAME/targets.json` and
`STATE/endpoints/NAME/targets.json` hold all addresses, as `file_sd_configs` of Prometheus read them.
"""
SERVICES = (
    ("Supervisor", "One process a job: what `ringyard run` is in the foreground, or what `--detach` leaves behind."),
    (
        "Operator",
        "Each replica on a cluster. It has the supervisor's metrics too, with a label `namespace` before `job`.",
    ),
    ("Worker", "Each training process of a declared fit. A `command` has what its script brings."),
    ("Model server", "The process behind an endpoint."),
)


def registries() -> tuple[CollectorRegistry, ...]:
    """One registry of each service, with nothing measured yet."""
    supervisor, operator = CollectorRegistry(), CollectorRegistry()
    Metrics(supervisor)
    OperatorMetrics(operator)
    worker = WorkerMetrics()
    worker.watch(lambda: _engine(Stats()))
    return supervisor, operator, worker.registry, ServerMetrics().registry


def rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name as it is scraped, type, label names and meaning of each metric, by name."""
    found = []
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            name = family.name + ("_total" if family.type == "counter" else "")
            found.append((name, family.type, tuple(labels), family.documentation))
    yield from sorted(found)


def document() -> str:
    """The whole file."""
    parts = [OPENING]
    for (title, text), registry in zip(SERVICES, registries(), strict=True):
        parts.append(f"\n## {title}\n{text}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n")
        for name, kind, labels, meaning in rows(registry):
            parts.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {meaning} |\n")
    return "".join(parts)


def main() -> int:
    """Writes the file, or with --check says whether it is stale (exit 1)."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true")
    made = document()
    if not options.parse_args().check:
        TARGET.write_text(made)
        return 0
    if TARGET.exists() and TARGET.read_text() == made:
        return 0
    print(f"stale: docs/{TARGET.name} (make generate)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
