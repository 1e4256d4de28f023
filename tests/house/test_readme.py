"""What README says, runs: its manifest loads, its tour runs from first command to last, its links lead somewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ringyard_api.loading import load_job
from ringyard_api.validation import unsupported

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "DECISIONS.md")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_first_block_is_the_two_commands() -> None:
    assert [line.split("#")[0].strip() for line in blocks("sh")[0].splitlines()] == ["make demo", "make test"]


def test_the_manifest_in_the_readme_is_valid_and_supported() -> None:
    (manifest,) = blocks("yaml")
    assert not unsupported(load_job(manifest, "README.md"))


def test_the_tour_runs_from_its_first_command_to_its_last_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tour = "set -eux\n" + "\n".join(block for block in blocks("sh") if "ringyard" in block)
    state = tmp_path / "ringyard"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", tour], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=220
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "spoilt" in done.stdout
        limit = time.monotonic() + 30
        while left(tmp_path) and time.monotonic() < limit:
            time.sleep(0.1)  # a supervisor leaves after its job's folder is gone
        assert not left(tmp_path)
        assert not [*state.glob("jobs/*"), *state.glob("endpoints/*")]
    finally:
        for pid in left(tmp_path):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_between_our_documents_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), f"{document} links to {target}"


def left(folder: Path) -> list[int]:
    """Pids that name the folder in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in told:
                found.append(int(entry.name))
    return found
