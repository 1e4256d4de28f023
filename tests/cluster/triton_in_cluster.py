"""NVIDIA's Triton client in a pod: `tests/serving/triton_probe.py` and what it imports, brought along by tar.

The image is the model server's, because it holds numpy and grpc; nothing of Ringyard is imported there.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from kubectl import Kubectl

SERVING = os.environ.get("SERVING_IMAGE", "ringyard/serving:dev")
PROBE = Path(__file__).resolve().parents[1] / "serving" / "triton_probe.py"
BROUGHT = ("tritonclient", "rapidjson", "ml_dtypes", "packaging", "typing_extensions")
UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/tmp/site')"


def pod(name: str) -> dict[str, Any]:
    """A pod that waits for commands, and passes `restricted`."""
    secure = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "main",
        "image": SERVING,
        "command": ["sleep", "3600"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "securityContext": secure}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**spec, "containers": [container]},
    }


def packed() -> bytes:
    """The client's packages and the probe as one tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(PROBE, PROBE.name)
        for name in BROUGHT:
            found = importlib.util.find_spec(name)
            assert found is not None and found.origin is not None, name
            where = Path(found.origin)
            where = where.parent if where.name == "__init__.py" else where
            archive.add(where, where.name)
    return buffer.getvalue()


class TritonClient:
    """The client in a pod of its own."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self.kubectl, self.name = kubectl, name
        kubectl.apply(pod(name))
        kubectl.wait_until(lambda: kubectl.get("pod", name)["status"].get("phase") == "Running", f"pod {name} Running")
        into = kubectl.command("exec", "-i", name, "--", "python3", "-c", UNPACK)
        subprocess.run(into, input=packed(), check=True, timeout=60)

    def calls(self, url: str, model: str, output: str) -> Calls:
        """Begins to call a model of four features without pause."""
        words = ["env", "PYTHONPATH=/tmp/site", "python3", "/tmp/site/triton_probe.py", url, model, "2", output]
        return Calls(self.kubectl.command("exec", "-i", self.name, "--", *words))


class Calls:
    """Calls without pause, until `end`."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "running\n"

    def end(self) -> tuple[dict[str, int], list[str]]:
        """Answers by version, and failures."""
        tally = json.loads(self.process.communicate(timeout=60)[0])
        by_version: dict[str, int] = {}
        for answer, count in tally["answers"].items():
            version = answer.split("/")[1]
            by_version[version] = by_version.get(version, 0) + count
        return by_version, tally["failures"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def from_here(url: str, model: str, output: str) -> Calls:
    """The same client on this machine."""
    return Calls([sys.executable, str(PROBE), url, model, "1", output])
