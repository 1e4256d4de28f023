"""A person at the command line of a cluster: what the behaviour tests of tests/cluster do and look at, through kubectl.

Every wait that is given up tells the story: conditions, pods, events, and the operator's last words.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds until a wait is given up: a hang is a failure, its length is nobody's promise
OPERATOR_NAMESPACE = "ringyard-system"
OPERATOR = "ringyard-operator"

Manifest = str | Path | Mapping[str, Any] | list[Any]


class Refused(AssertionError):
    """kubectl failed: what it said."""


class Kubectl:
    """kubectl with one kubeconfig, in one namespace."""

    def __init__(self, binary: str, kubeconfig: str, namespace: str = "") -> None:
        self.binary, self.kubeconfig, self.namespace = binary, kubeconfig, namespace

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace ("" = none: what has no namespace, or the default one)."""
        return Kubectl(self.binary, self.kubeconfig, namespace)

    # -- running ------------------------------------------------------------------------------------------------------
    def command(self, *words: str) -> list[str]:
        where = ["--namespace", self.namespace] if self.namespace else []
        return [self.binary, "--kubeconfig", self.kubeconfig, *where, *words]

    def ask(self, *words: str, stdin: str | None = None, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Runs kubectl to its end, whatever that is."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    def run(self, *words: str, stdin: str | None = None, timeout: float = PATIENCE) -> str:
        """Runs kubectl, which must succeed; answers with what it printed."""
        done = self.ask(*words, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise Refused(f"kubectl {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    # -- writing ------------------------------------------------------------------------------------------------------
    def apply(self, manifest: Manifest, *words: str) -> str:
        """`kubectl apply` of a YAML text, a file, an object or a list of objects."""
        return self.run("apply", *words, "-f", "-", stdin=text_of(manifest))

    def create(self, manifest: Manifest, *words: str) -> dict[str, Any]:
        """`kubectl create` of one object; answers with what the API server made of it."""
        made: dict[str, Any] = json.loads(self.run("create", *words, "-o", "json", "-f", "-", stdin=text_of(manifest)))
        return made

    def refusal(self, manifest: Manifest, *words: str) -> str:
        """`kubectl apply` that must be refused: the sentence."""
        done = self.ask("apply", *words, "-f", "-", stdin=text_of(manifest))
        assert done.returncode, f"not refused: {done.stdout}"
        return done.stderr.strip()

    def delete(self, kind: str, name: str, *words: str) -> None:
        """Deletes it, waits until it is gone (`--wait=false`: does not), and minds not if it was gone before."""
        self.run("delete", kind, name, "--ignore-not-found", *words)

    def patch(self, kind: str, name: str, body: Any, *words: str, how: str = "merge") -> None:
        """`how`: merge, json or strategic; `--subresource=status` is a word."""
        self.run("patch", kind, name, f"--type={how}", "-p", json.dumps(body), *words)

    def scale(self, kind: str, name: str, replicas: int) -> None:
        self.run("scale", f"{kind}/{name}", f"--replicas={replicas}")

    def evict(self, pod: str) -> str:
        """Asks the Eviction API for the pod; "" = granted, else why not."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        url = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        done = self.ask("create", "--raw", url, "-f", "-", stdin=json.dumps(body))
        return done.stderr.strip() if done.returncode else ""

    # -- reading ------------------------------------------------------------------------------------------------------
    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        told = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(told) if told.strip() else None

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found = self.find(kind, name)
        if found is None:
            raise Refused(f"there is no {kind} {name} in {self.namespace or 'the cluster'}")
        return found

    def all(self, kind: str, labels: str = "", *words: str) -> list[dict[str, Any]]:
        """Those of a kind, by label selector."""
        chosen = ["-l", labels] if labels else []
        found: list[dict[str, Any]] = json.loads(self.run("get", kind, *chosen, *words, "-o", "json"))["items"]
        return found

    def raw(self, path: str) -> Any:
        return json.loads(self.run("get", "--raw", path))

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """A condition of an object; {} where it has none such, or is not there."""
        found = (self.find(kind, name) or {}).get("status", {}).get("conditions", [])
        return next((dict(one) for one in found if one["type"] == type_), {})

    def events(self, about: str = "") -> list[dict[str, Any]]:
        """The namespace's events, oldest first; of the object of that name."""
        chosen = [f"--field-selector=involvedObject.name={about}"] if about else []
        return sorted(self.all("events", "", *chosen), key=moment_of_event)

    def logs(self, pod: str, *words: str) -> str:
        return self.run("logs", pod, *words)

    def exec(self, pod: str, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command in a pod; its exit code is the answer's."""
        return self.ask("exec", *(["-i"] if stdin is not None else []), pod, "--", *command, stdin=stdin)

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int | str) -> Iterator[str]:
        """`kubectl port-forward TARGET :PORT`: the local address, as long as the block runs."""
        with subprocess.Popen(
            self.command("port-forward", target, f":{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise Refused(f"kubectl port-forward {target}: {line}{process.stdout.read()}")
                yield f"127.0.0.1:{found[1]}"
            finally:
                process.kill()

    # -- waiting ------------------------------------------------------------------------------------------------------
    def wait_until(self, true: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Polls until `true()` is truthy and returns that; fails with what was awaited and the namespace's story."""
        give_up = time.monotonic() + timeout
        last = ""
        while time.monotonic() < give_up:
            try:
                if found := true():
                    return found
            except (Refused, subprocess.TimeoutExpired) as failure:  # the API server may be away: a part of some tests
                last = f"\nlast failure: {failure}"
            time.sleep(0.2)
        raise AssertionError(f"waited {timeout:.0f} s in vain for: {what}{last}\n{self.story()}")

    def until_condition(
        self, kind: str, name: str, type_: str, status: str, timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """Waits until a condition has a status; answers with the condition."""

        def met() -> dict[str, Any]:
            one = self.condition(kind, name, type_)
            return one if one.get("status") == status else {}

        found: dict[str, Any] = self.wait_until(met, f"{type_}={status} of {kind} {name}", timeout)
        return found

    def story(self) -> str:
        """What a person would look at after a failure."""
        asked = (
            self.command("get", "trainingjobs,modelendpoints", "-o", f"jsonpath={STORY_OF_JOB}"),
            self.command("get", "pods", "-o", f"jsonpath={STORY_OF_POD}"),
            self.command("get", "events", "--sort-by=.lastTimestamp", "-o", f"jsonpath={STORY_OF_EVENT}"),
            self.within(OPERATOR_NAMESPACE).command(
                "logs", f"deployment/{OPERATOR}", "--all-pods", "--prefix", "--tail=20"
            ),
        )
        told = []
        for command in asked:
            with contextlib.suppress(subprocess.TimeoutExpired):
                done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
                told.append(done.stdout.strip()[-6000:] if done.returncode == 0 else done.stderr.strip())
        return "\n--\n".join(told)


STORY_OF_JOB = (
    "{range .items[*]}{.kind} {.metadata.name} step {.status.step} workers {.status.workers}\n"
    "{range .status.conditions[*]}    {.type}={.status} {.reason}: {.message}\n{end}{end}"
)
STORY_OF_POD = (
    "{range .items[*]}{.metadata.name} {.status.phase} on {.spec.nodeName} deleted {.metadata.deletionTimestamp}"
    " {.status.reason} {.status.message} {range .status.containerStatuses[*]}{.state}{end}\n{end}"
)
STORY_OF_EVENT = "{range .items[*]}{.lastTimestamp} {.involvedObject.name} {.reason}: {.message}\n{end}"


def moment_of_event(event: Mapping[str, Any]) -> str:
    """Events of the old API and of the new one keep their time in different fields."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def text_of(manifest: Manifest) -> str:
    """What kubectl reads: YAML as it is, objects as JSON."""
    if isinstance(manifest, Path):
        return manifest.read_text()
    if isinstance(manifest, str):
        return manifest
    if isinstance(manifest, list):
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": manifest})
    return json.dumps(manifest)
