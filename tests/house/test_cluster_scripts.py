"""The scripts behind `make cluster-up` are sound as far as can be told without a cluster, and refuse in a sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path for path in (ROOT / "hack" / "cluster").iterdir() if path.is_file() and path.suffix in ("", ".sh")
)
PLAIN = "/usr/sbin:/usr/bin:/sbin:/bin"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def refusal(folder: Path, user: int | None = None, **environment: str) -> str:
    """What preflight says on a machine where nothing is built yet; it must exit 2 and print nothing else."""
    done = subprocess.run(
        ["hack/cluster/preflight"],
        cwd=ROOT,
        env={"PATH": PLAIN, "HOME": str(folder), "RINGYARD_CACHE": str(folder), **environment},
        user=user,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert not done.stdout
    (sentence,) = done.stderr.splitlines()
    return sentence


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_says_why_it_exists_and_stops_at_the_first_failure(script: Path) -> None:
    text = script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], timeout=60, check=False).returncode == 0
    if script.suffix:
        assert text.startswith("# ")
        return
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text


def test_every_go_tool_is_pinned_by_hash() -> None:
    tools = [
        path
        for path in (ROOT / "hack" / "cluster" / "tools").iterdir()
        if (path / "go.mod").read_text().count("require")
    ]
    assert tools
    assert not [tool.name for tool in tools if not (tool / "go.sum").is_file()]


@root_only
def test_without_root_the_cluster_is_refused_in_a_sentence() -> None:
    assert "needs root" in refusal(Path("/nonexistent"), user=65534)


@root_only
@pytest.mark.skipif(shutil.which("go", path=PLAIN) is not None, reason="Go lies where every program lies")
def test_without_go_the_cluster_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "install Go" in refusal(tmp_path)


@root_only
def test_a_cluster_of_no_nodes_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "CLUSTER_NODES=0" in refusal(tmp_path, CLUSTER_NODES="0")
