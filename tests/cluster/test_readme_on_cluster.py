"""What README says of a cluster, runs there: its commands from the first to the last, in a namespace with a claim."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cluster_at_hand import ROOT
from installed_operator import InstalledOperator
from kubectl import Kubectl
from storage_claims import Claims


def commands() -> str:
    """The blocks for a cluster, but for the one that makes it."""
    blocks = re.findall(r"^```shell\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    return "set -eux\n" + "\n".join(block for block in blocks if not block.startswith("make"))


def test_the_commands_of_the_readme_run_from_the_first_to_the_last(
    operator: InstalledOperator, kubectl: Kubectl, claim: Claims, tmp_path: Path
) -> None:
    claim("models")
    mine = tmp_path / "kubeconfig"
    mine.write_text(kubectl.run("config", "view", "--raw", "--minify"))
    mine.chmod(0o600)
    tools = [str(Path(sys.executable).parent), str(Path(kubectl.binary).parent), os.environ["PATH"]]
    environment = {
        **os.environ,
        "KUBECONFIG": str(mine),
        "PATH": os.pathsep.join(tools),
        "XDG_STATE_HOME": str(tmp_path),
    }
    chosen = ["config", "set-context", "--current", f"--namespace={kubectl.namespace}"]
    subprocess.run([kubectl.binary, *chosen], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        ["bash", "-c", commands()], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=500
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{kubectl.story()}"
    assert "Completed" in done.stdout and f"grpc://iris.{kubectl.namespace}.svc:8001" in done.stdout
    assert '"version": "2"' in done.stdout or re.search(r"^iris +Serving +2 ", done.stdout, flags=re.MULTILINE)
