"""`make demo` goes through to its end: a worker killed, the model served, Triton's client content, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_kills_a_worker_serves_and_ends_clean(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "hack" / "demo.py"],
        capture_output=True,
        text=True,
        timeout=230,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "kill -9" in done.stdout
    assert "Succeeded=True" in done.stdout
    assert "right, answered by version 1" in done.stdout
    assert done.stdout.rstrip().endswith("Nothing is left: no process, no port, no file.")
    assert not list(tmp_path.iterdir())
