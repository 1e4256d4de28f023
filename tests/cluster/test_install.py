"""What `make deploy` installed: rights that are enough and no more, pods that are `restricted`; twice is harmless."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cluster_at_hand import Cluster
from installed_operator import InstalledOperator
from kubectl import OPERATOR, OPERATOR_NAMESPACE, Kubectl
from ringyard_api.loading import from_object
from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.resources.serving import endpoint_children
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import worker_pod
from test_crd_agrees import ENDPOINT
from test_loading_manifests import GOOD, changed

ROOT = Path(__file__).resolve().parents[2]
SETTING = Setting(trainer_image="ringyard/trainer:dev", serving_image="ringyard/serving:dev")
ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"


def may(kubectl: Kubectl, who: str, verb: str, what: str, *words: str) -> bool:
    return kubectl.ask("auth", "can-i", verb, what, *words, "--as", who).stdout.strip() == "yes"


@pytest.mark.parametrize(
    ("verb", "what", "words"),
    [
        ("get", "secrets", ()),
        ("list", "secrets", ("--all-namespaces",)),
        ("create", "pods", ("--subresource=exec",)),
        ("update", "trainingjobs", ()),
        ("delete", "modelendpoints", ()),
        ("delete", "persistentvolumeclaims", ()),
        ("create", "serviceaccounts", ("--subresource=token",)),
        ("create", "clusterrolebindings", ()),
        ("patch", "nodes", ()),
    ],
)
def test_the_operator_may_not(kubectl: Kubectl, verb: str, what: str, words: tuple[str, ...]) -> None:
    assert may(kubectl, ACCOUNT, "create", "pods")
    assert not may(kubectl, ACCOUNT, verb, what, *words)


def test_who_may_edit_a_namespace_may_train_there_and_who_may_view_it_may_look(kubectl: Kubectl) -> None:
    for role in ("view", "edit", "admin"):
        kubectl.run("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-person")
    for role, trains in (("view", False), ("edit", True), ("admin", True)):
        who = f"{role}-person"
        kubectl.wait_until(lambda who=who: may(kubectl, who, "list", "trainingjobs"), "aggregated roles", 30)
        assert may(kubectl, who, "get", "modelendpoints")
        assert may(kubectl, who, "create", "trainingjobs") == trains
        assert may(kubectl, who, "patch", "trainingjobs", "--subresource=scale") == trains
        assert not may(kubectl, who, "patch", "trainingjobs", "--subresource=status")


def pods_of_ours(namespace: str) -> list[dict[str, Any]]:
    """A worker that wants all there is, and a model server."""
    full = changed(changed(GOOD, "spec.code", {"configMap": "c"}), "spec.storage", {"uri": "pvc://models/runs"})
    found = []
    for manifest in (full, changed(ENDPOINT, "spec.versions.0.uri", "pvc://models/a")):
        loaded = from_object(changed(changed(manifest, "metadata.namespace", namespace), "metadata.uid", "0-1"))
        if isinstance(loaded, TrainingJob):
            found.append(worker_pod(loaded, 0, 1, SETTING))
            continue
        assert isinstance(loaded, ModelEndpoint)
        deployment = next(each for each in endpoint_children(loaded, SETTING, "t") if each["kind"] == "Deployment")
        server = deployment["spec"]["template"]
        found.append(
            {"apiVersion": "v1", "kind": "Pod", **server, "metadata": {**server["metadata"], "name": "server"}}
        )
    return found


def test_workers_and_servers_pass_pod_security_restricted(kubectl: Kubectl) -> None:
    for pod in pods_of_ours(kubectl.namespace):
        kubectl.create(pod, "--dry-run=server")
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    assert 'violates PodSecurity "restricted' in kubectl.refusal(pod, "--dry-run=server")


def test_installing_again_changes_nothing(cluster: Cluster, operator: InstalledOperator) -> None:
    def generation() -> object:
        return operator.kubectl.get("deployment", OPERATOR)["metadata"]["generation"]

    before, pods = generation(), {pod["metadata"]["uid"] for pod in operator.pods()}
    done = subprocess.run(
        [ROOT / "hack" / "deploy.sh", "deploy"],
        env={**os.environ, **images_of(operator), "KUBECONFIG": cluster.kubectl.kubeconfig},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "Next: kubectl apply -f" in done.stdout
    assert generation() == before and {pod["metadata"]["uid"] for pod in operator.pods()} == pods


def images_of(operator: InstalledOperator) -> dict[str, str]:
    (container,) = operator.kubectl.get("deployment", OPERATOR)["spec"]["template"]["spec"]["containers"]
    prefix, _, tag = str(container["image"]).rpartition("/operator:")
    return {"IMAGE_PREFIX": prefix, "IMAGE_TAG": tag}


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}],"
        " clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: a, user: {}}]}"
    )
    done = subprocess.run(
        [ROOT / "hack" / "deploy.sh", "deploy"],
        env={**os.environ, "KUBECONFIG": str(nowhere)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == f"ringyard: the cluster of {nowhere} does not answer: is it up?\n"
