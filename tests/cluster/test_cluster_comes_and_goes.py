"""A cluster is taken away without a trace, and a second one stands beside the first meanwhile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cluster_at_hand import ROOT, Cluster

BESIDE = {
    "CLUSTER_BRIDGE": "ringyard9",
    "CLUSTER_NET": "172.29.9",
    "CLUSTER_PODS": "10.249",
    "CLUSTER_SERVICES": "10.99",
    "CLUSTER_CGROUP": "ringyard9",
    "CLUSTER_ETCD_PORT": "12399",
}


@pytest.mark.destructive
def test_nothing_is_left_of_a_cluster_also_when_its_making_was_interrupted(cluster: Cluster, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "hack" / "cluster" / "cycle"), "2"],
        env={**os.environ, **BESIDE, "CLUSTER_STATE": str(tmp_path / "state"), "CLUSTER_NODES": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing left") == 2
    assert cluster.kubectl.ask("get", "--raw", "/readyz").stdout == "ok"


@pytest.mark.destructive
@pytest.mark.parametrize("script", ["up", "down"])
def test_a_second_cluster_does_not_touch_what_is_the_firsts(cluster: Cluster, tmp_path: Path, script: str) -> None:
    assert cluster.state
    taken = dict(line.split("=", 1) for line in (cluster.state / "settings").read_text().splitlines())
    done = subprocess.run(
        [str(ROOT / "hack" / "cluster" / script)],
        env={
            **os.environ,
            "CLUSTER_STATE": str(tmp_path / "state"),
            **{name: taken[name] for name in ("CLUSTER_BRIDGE", "CLUSTER_CGROUP", "CLUSTER_NET", "CLUSTER_PODS")},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"is of the cluster in {cluster.state}" in done.stderr
    assert not (tmp_path / "state").exists()
    assert cluster.kubectl.ask("get", "--raw", "/readyz").stdout == "ok"
