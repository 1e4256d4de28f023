"""Where `/metrics` of a job's processes are, as a list that Prometheus' `file_sd_configs` reads by itself.

`training` writes it beside the job's status when it changes, `endpoint` beside the endpoint's. Ports on a laptop are
free ones that nobody can know beforehand; on a cluster a PodMonitor finds them. It knows no metric.
"""

from __future__ import annotations

import json
from pathlib import Path

from ringyard_operator.local import disk
from ringyard_operator.observed import GroupSeen

Target = tuple[str, dict[str, str]]  # host:port, labels


def job_targets(job: str, supervisor: str, group: GroupSeen | None) -> list[Target]:
    """The supervisor, and each attending worker that serves metrics, in the order of their indices."""
    found: list[Target] = [(supervisor, {"job": job, "role": "supervisor"})] if supervisor else []
    members = sorted(group.members, key=lambda m: (m.index, m.process)) if group is not None else []
    found += [(m.metrics_address, {"job": job, "role": "worker", "worker": str(m.index)}) for m in members]
    return [(address, labels) for address, labels in found if address]


class TargetsFile:
    """The file, rewritten only when what it says changes."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, ""

    def write(self, targets: list[Target]) -> None:
        """Replaces the file if need be. Raises StateUnusable."""
        text = json.dumps([{"targets": [address], "labels": labels} for address, labels in targets], indent=2) + "\n"
        if text != self._written:
            disk.replace(self._path, text)
            self._written = text
