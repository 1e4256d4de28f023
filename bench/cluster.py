"""`make bench-cluster`: the figures of a Kubernetes cluster, on the cluster that KUBECONFIG names, now.

Ringyard has to be installed (`make deploy`), its trainer image has to be on the nodes. It drives kubectl only. The peer
is a plain Indexed Job that runs the same model, data and pauses as an unchanged DDP script; peer and ours take turns.
Prints a table, keeps bench/results/cluster-TIME.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
SCRIPT = (ROOT / "bench" / "first_step.py").read_text()
WORKERS = 3
PATIENCE = 180.0
NAMESPACE = "ringyard-bench"
SYSTEM = "ringyard-system"
IMAGE = os.environ.get("TRAINER_IMAGE", "ringyard/trainer:dev")
STEP = re.compile(r"^STEP (\d+) ([0-9.]+)$", re.MULTILINE)


CACHE = Path(os.environ.get("RINGYARD_CACHE", Path.home() / ".cache" / "ringyard")) / "cluster"


def kubectl(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """Runs kubectl; its output."""
    done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    if check and done.returncode:
        raise SystemExit(f"kubectl {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def get(*words: str) -> Any:
    """`kubectl get … -o json`, read."""
    return json.loads(kubectl("get", *words, "-o", "json"))


def until(what: str, true: Callable[[], Any]) -> Any:
    """Polls until `true()` is truthy."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        if found := true():
            return found
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}: see `kubectl -n {NAMESPACE} get tj,pods,events`")


def manifest(kind: str, name: str) -> dict[str, Any]:
    """A job of three workers that trains until it is deleted: `script`, `fit` (both ours) or `indexed` (the peer)."""
    if kind == "indexed":
        return _indexed(name)
    spec: dict[str, Any] = {
        "image": IMAGE,
        "workers": {"replicas": WORKERS, "minReplicas": WORKERS if kind == "script" else 1},
        "code": {"configMap": "first-step"},
    }
    if kind == "script":
        spec["command"] = ["python", "first_step.py"]
    else:
        spec["model"] = {"factory": "first_step:build"}
        spec["data"] = {"uri": "sklearn://digits"}
        spec["fit"] = {"steps": 1_000_000, "batchSize": 64, "optimizer": {"name": "adamw", "lr": 0.002}}
        spec["checkpoint"] = {"everySteps": 1_000_000}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": spec}


def _indexed(name: str) -> dict[str, Any]:
    environment = {
        "MASTER_ADDR": f"{name}-0.{name}",
        "MASTER_PORT": "29500",
        "WORLD_SIZE": str(WORKERS),
        "OMP_NUM_THREADS": "1",
        "HOME": "/tmp",
    }
    container = {
        "name": "worker",
        "image": IMAGE,
        "command": ["sh", "-c", "RANK=$JOB_COMPLETION_INDEX exec python /code/first_step.py"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    pod = {
        "restartPolicy": "Never",
        "subdomain": name,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "code", "configMap": {"name": "first-step"}}],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "completions": WORKERS,
            "parallelism": WORKERS,
            "completionMode": "Indexed",
            "template": {"metadata": {"labels": {"bench": name}}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"clusterIP": "None", "selector": {"bench": name}, "publishNotReadyAddresses": True},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [service, job]}


def pods(name: str) -> list[str]:
    """The pods of a job, by name, ours or the peer's."""
    names = kubectl("-n", NAMESPACE, "get", "pods", "-o", "name").split()
    return sorted(each.removeprefix("pod/") for each in names if each.startswith(f"pod/{name}-"))


def steps(pod: str) -> dict[int, float]:
    """Step → Unix seconds, as a worker told."""
    log = kubectl("-n", NAMESPACE, "logs", pod, check=False)
    return {int(number): float(at) for number, at in STEP.findall(log)}


@contextlib.contextmanager
def job(kind: str, name: str) -> Iterator[float]:
    """A job that was just applied; gives the Unix time just before, and leaves nothing."""
    text = json.dumps(manifest(kind, name))
    began = time.time()
    kubectl("apply", "-f", "-", stdin=text)
    try:
        yield began
    finally:
        kubectl("delete", "-f", "-", "--wait=false", stdin=text)
        until("its pods to go", lambda: not pods(name))


def first_step(kind: str, name: str) -> float:
    """Seconds from before `kubectl apply` to the first step of the last worker."""
    with job(kind, name) as began:
        until("three workers to step", lambda: len(pods(name)) >= WORKERS and all(1 in steps(p) for p in pods(name)))
        return max(steps(pod)[1] for pod in pods(name)) - began


def loss_of_a_worker(name: str) -> float:
    """Seconds from SIGKILL of one training process to the next step of the survivors (a declared fit)."""
    with job("fit", name):
        until("30 steps", lambda: len(pods(name)) >= WORKERS and all(30 in steps(p) for p in pods(name)))
        victim, survivor = pods(name)[-1], pods(name)[0]
        kill = "import os,glob\nfor p in glob.glob('/proc/[0-9]*'):\n"
        kill += " w=open(p+'/cmdline').read().split(chr(0))\n"
        kill += " if 'ringyard_trainer' in w: os.kill(int(p[6:]),9)\n"
        kill += "import time; print(time.time())"
        killed = float(kubectl("-n", NAMESPACE, "exec", victim, "--", "python", "-c", kill).split()[-1])
        # a step that was complete when the victim died is told a moment later: the first gap above three pauses counts
        times = until(
            "later steps", lambda: [at for at in steps(survivor).values() if at > killed + 3] and steps(survivor)
        )
        after = sorted(at for at in times.values() if at > killed - 0.1)
        gaps = [(later - earlier, later) for earlier, later in itertools.pairwise(after)]
        return max(gaps)[1] - killed


def operators() -> list[dict[str, Any]]:
    """The operator's pods that run."""
    found = get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=operator")["items"]
    return [
        pod for pod in found if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    ]


def holder() -> str:
    """Who holds the Lease."""
    return str(get("-n", SYSTEM, "lease", "ringyard-operator")["spec"].get("holderIdentity", ""))


def served_by() -> str:
    """Address of the coordinator, as workers find it."""
    slices = get("-n", SYSTEM, "endpointslices", "-l", "kubernetes.io/service-name=ringyard-coordinator")["items"]
    return str(slices[0]["endpoints"][0]["addresses"][0]) if slices and slices[0].get("endpoints") else ""


def failover(*, kill: bool) -> float:
    """Seconds from the leader's end to the next one's address in the coordinator's Service.

    `kill`: SIGKILL, then the pod is taken away, for its kubelet would start it again at once. Only where the nodes are
    of this machine (`make cluster-up`): a deletion alone, forced or not, lets the process give its Lease back.
    """
    until("two operators", lambda: len(operators()) == 2)
    leader, address = holder(), served_by()
    began = time.monotonic()
    if kill:
        victims = processes_of(leader)
        if not victims:
            return float("nan")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
    force = ["--force", "--grace-period=0"] if kill else []
    kubectl("-n", SYSTEM, "delete", "pod", leader, "--wait=false", *force)
    until("another address", lambda: served_by() not in ("", address) and holder() != leader)
    return time.monotonic() - began


def processes_of(pod: str) -> list[int]:
    """The operator's processes of a pod, as this machine knows them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"POD_NAME={pod}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def at_rest(seconds: float) -> dict[str, float]:
    """Memory and CPU of the operators while no job runs; the higher of the two."""
    until("two operators", lambda: len(operators()) == 2)
    before, began = _usage(), time.monotonic()
    time.sleep(seconds)
    after, took = _usage(), time.monotonic() - began
    cores = [(after[name][1] - before[name][1]) / took for name in after if name in before]
    return {"operator_mib": max(size for size, _ in after.values()) / 2**20, "operator_idle_percent": 100 * max(cores)}


def _usage() -> dict[str, tuple[int, float]]:
    """Pod → (working set in bytes, CPU seconds so far), from the kubelets."""
    found: dict[str, tuple[int, float]] = {}
    names = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in operators()}
    for node in set(names.values()):
        summary = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
        for pod in summary.get("pods", []):
            if pod["podRef"]["name"] in names:
                cpu = pod.get("cpu", {}).get("usageCoreNanoSeconds", 0) / 1e9
                found[pod["podRef"]["name"]] = (pod.get("memory", {}).get("workingSetBytes", 0), cpu)
    return found


def measure(rounds: int, idle: float) -> dict[str, Any]:
    """All figures; those of the first step are medians over the rounds, peer and ours in turns."""
    taken: dict[str, list[float]] = {"indexed": [], "script": [], "fit": []}
    losses = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for kind, figures in taken.items():
            figures.append(first_step(kind, f"{kind}{number}"))
        losses.append(loss_of_a_worker(f"loss{number}"))
    print("at rest, then failover", file=sys.stderr)
    figures = {f"{kind}_first_step_seconds": statistics.median(values) for kind, values in taken.items()}
    figures["ratio_script"] = figures["script_first_step_seconds"] / figures["indexed_first_step_seconds"]
    figures["ratio_fit"] = figures["fit_first_step_seconds"] / figures["indexed_first_step_seconds"]
    figures["loss_seconds"] = statistics.median(losses)
    figures.update(at_rest(idle))
    figures["failover_clean_seconds"] = failover(kill=False)
    figures["failover_killed_seconds"] = failover(kill=True)
    return {**figures, "rounds": {**taken, "losses": losses}}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [
        ("apply → first step, Indexed Job, DDP script", f"{figures['indexed_first_step_seconds']:.2f} s"),
        ("apply → first step, TrainingJob, the same script", f"{figures['script_first_step_seconds']:.2f} s"),
        ("ratio (below 1 we are faster)", f"{figures['ratio_script']:.2f}"),
        ("apply → first step, TrainingJob, declared fit", f"{figures['fit_first_step_seconds']:.2f} s"),
        ("ratio (below 1 we are faster)", f"{figures['ratio_fit']:.2f}"),
        ("SIGKILL of a worker → next step of the survivors", f"{figures['loss_seconds']:.2f} s"),
        ("operator at rest: working set", f"{figures['operator_mib']:.0f} MiB"),
        ("operator at rest: CPU", f"{figures['operator_idle_percent']:.2f} % of a core"),
        ("failover after a clean stop", f"{figures['failover_clean_seconds']:.1f} s"),
        ("failover after SIGKILL", f"{figures['failover_killed_seconds']:.1f} s"),
    ]
    return "| what | figure |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def main() -> None:
    """Measures, prints, keeps."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="of first steps and losses (default 3)")
    options.add_argument("--idle", type=float, default=60.0, help="seconds at rest (default 60)")
    chosen = options.parse_args()
    os.environ.setdefault("KUBECONFIG", str(CACHE / "state" / "admin.kubeconfig"))
    os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kubectl("create", "namespace", NAMESPACE, check=False)
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first-step", "namespace": NAMESPACE}}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps({**code, "data": {"first_step.py": SCRIPT}}))
    load = os.getloadavg()[0]
    try:
        figures = measure(chosen.rounds, chosen.idle)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    figures["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 2)}
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"cluster-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}.json"
    kept.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{table(figures)}\n\nload before: {load:.1f} on {os.cpu_count()} cores; kept in {kept.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
