"""The operator's process by itself: it leaves in order, tells how it is, and does not trust a watch that is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cluster_at_hand import Cluster
from kubectl import OPERATOR, OPERATOR_NAMESPACE, Kubectl
from operator_process import OperatorProcess, silent_line

Start = Callable[..., OperatorProcess]
pytestmark = pytest.mark.destructive  # the installed operator pauses meanwhile
JOB = {
    "apiVersion": "ringyard.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "waits"},
    "spec": {"workers": {"replicas": 2}, "command": ["true"]},
}


@pytest.fixture(scope="module", autouse=True)
def nobody_else(cluster: Cluster) -> Iterator[None]:
    """The operator that `make deploy` installed would look after the same jobs, under a Lease of its own."""
    system = cluster.kubectl.within(OPERATOR_NAMESPACE)
    installed = system.find("deployment", OPERATOR)
    if installed is None:
        yield
        return
    system.scale("deployment", OPERATOR, 0)
    system.wait_until(lambda: not system.all("pods", "app.kubernetes.io/component=operator"), "no operator")
    yield
    system.scale("deployment", OPERATOR, installed["spec"]["replicas"])
    system.until_condition("deployment", OPERATOR, "Available", "True")


@pytest.fixture
def start(kubectl: Kubectl, tmp_path: Path) -> Iterator[Start]:
    running: list[OperatorProcess] = []

    def begin(identity: str, kubeconfig: Path | None = None) -> OperatorProcess:
        running.append(OperatorProcess(kubectl, identity, kubeconfig, tmp_path))
        kubectl.wait_until(running[-1].ready, f"{identity} knows its objects")
        return running[-1]

    yield begin
    for each in running:
        each.kill()


def pods(kubectl: Kubectl, job: str) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in kubectl.all("pods", f"ringyard.dev/job={job}"))


def test_an_operator_that_is_told_to_go_ends_well_and_the_standby_goes_on_at_once(
    kubectl: Kubectl, start: Start
) -> None:
    first = start("first")
    kubectl.wait_until(first.leads, "the first is in office")
    second = start("second")
    kubectl.apply(JOB)
    kubectl.wait_until(lambda: pods(kubectl, "waits") == ["waits-0-0", "waits-1-0"], "both workers are made")
    waits = kubectl.until_condition("tj", "waits", "Admitted", "True")
    assert not second.leads()
    assert first.end() == 0
    assert (kubectl.get("lease", "ringyard-operator")["spec"].get("holderIdentity") or "second") == "second"
    kubectl.wait_until(second.leads, "the second is in office")
    kubectl.scale("tj", "waits", 1)
    kubectl.wait_until(lambda: pods(kubectl, "waits") == ["waits-0-0"], "the second scales it")
    assert kubectl.condition("tj", "waits", "Admitted")["lastTransitionTime"] == waits["lastTransitionTime"]
    told = [(event["reason"], event["message"]) for event in kubectl.events("waits")]
    assert len(told) == len(set(told)), f"nothing is told twice: {told}"


def test_a_standby_asks_for_nothing_but_the_lease_and_what_it_may_look_at(
    kubectl: Kubectl, start: Start, tmp_path: Path
) -> None:
    """Its rights are to read, and to write the Lease: whatever else it tried would be refused, and stand in its log."""
    first = start("first")
    kubectl.wait_until(first.leads, "the first is in office")
    second = start("second", reader(kubectl, tmp_path))
    kubectl.apply(JOB)
    kubectl.wait_until(lambda: pods(kubectl, "waits") == ["waits-0-0", "waits-1-0"], "both workers are made")
    kubectl.delete("pod", "waits-0-0", "--wait=false")
    kubectl.wait_until(lambda: "waits-0-1" in pods(kubectl, "waits"), "the first goes on working")
    assert "forbidden" not in second.log.read_text() and not second.leads()
    assert first.end() == 0
    kubectl.wait_until(lambda: "forbidden" in second.log.read_text(), "in office it wants more than it may")


def reader(kubectl: Kubectl, folder: Path) -> Path:
    """A kubeconfig of somebody who may read our kinds and write Leases in the test's namespace."""
    look = {"apiGroups": ["ringyard.dev"], "resources": ["trainingjobs", "modelendpoints"]}
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    verbs = ["get", "list", "watch"]
    kind = "rbac.authorization.k8s.io"
    kubectl.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
            {
                "apiVersion": f"{kind}/v1",
                "kind": "Role",
                "metadata": {"name": "reader"},
                "rules": [{**look, "verbs": verbs}, {**lease, "verbs": [*verbs, "create", "update", "patch"]}],
            },
            {
                "apiVersion": f"{kind}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "reader"},
                "roleRef": {"apiGroup": kind, "kind": "Role", "name": "reader"},
                "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": kubectl.namespace}],
            },
        ]
    )
    config = yaml.safe_load(kubectl.run("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": kubectl.run("create", "token", "reader").strip()}
    there = folder / "reader.kubeconfig"
    there.write_text(yaml.safe_dump(config))
    there.chmod(0o600)
    return there


def test_children_that_are_deleted_come_back_and_those_of_a_job_that_is_deleted_do_not(
    kubectl: Kubectl, start: Start
) -> None:
    start("only")
    kubectl.apply(JOB)
    kubectl.wait_until(lambda: len(pods(kubectl, "waits")) == 2, "both workers are made")
    before = {kind: kubectl.all(kind, "ringyard.dev/job=waits")[0]["metadata"] for kind in ("service", "cm", "pdb")}
    for kind, was in before.items():
        kubectl.delete(kind, was["name"])
    for kind, was in before.items():
        again = kubectl.wait_until(lambda k=kind, w=was: kubectl.find(k, w["name"]), f"another {kind}")
        assert again["metadata"]["uid"] != was["uid"]
    kubectl.delete("tj", "waits")
    kubectl.wait_until(lambda: not kubectl.all("pods,svc,cm,pdb", "ringyard.dev/job=waits"), "nothing is left")


def test_what_a_silent_watch_did_not_bring_is_done_all_the_same(kubectl: Kubectl, start: Start, tmp_path: Path) -> None:
    with silent_line(kubectl, tmp_path) as (kubeconfig, line):
        only = start("deaf", kubeconfig)
        kubectl.wait_until(only.leads, "it is in office")
        line.fall_silent()
        kubectl.apply(JOB)
        kubectl.wait_until(lambda: len(pods(kubectl, "waits")) == 2, "both workers are made", 200)
        kubectl.wait_until(lambda: only.page(only.health, "/healthz")[0] == 200, "the watch lives again", 200)
        kubectl.delete("tj", "waits")
        assert only.end() == 0
