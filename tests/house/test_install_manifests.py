"""What `make deploy` applies is narrow: no wildcard, no Secret of anybody else, two replicas that pass `restricted`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = [each for file in sorted((ROOT / "config").glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())]
READ = {"get", "list", "watch"}


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    found = [each for each in CONFIG if each["kind"] in kinds]
    assert found
    return found


def test_no_rule_has_a_wildcard_and_none_can_raise_its_own_rights() -> None:
    for role in of_kind("ClusterRole", "Role"):
        for rule in role["rules"]:
            for words in (rule["apiGroups"], rule["resources"], rule["verbs"]):
                assert words and not any("*" in word for word in words), rule
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"]


def test_the_operator_reads_no_secret_but_its_own_and_runs_nothing_in_a_pod() -> None:
    (everywhere,) = (each for each in of_kind("ClusterRole") if each["metadata"]["name"] == "ringyard-operator")
    named = {resource for rule in everywhere["rules"] for resource in rule["resources"]}
    assert not named & {"secrets", "nodes", "namespaces", "pods/exec", "pods/portforward", "serviceaccounts"}
    (at_home,) = of_kind("Role")
    for rule in at_home["rules"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"], rule
        assert at_home["metadata"]["namespace"] == "ringyard-system"


def test_who_may_view_may_only_read_and_nobody_is_given_the_status() -> None:
    roles = {each["metadata"]["name"]: each for each in of_kind("ClusterRole")}
    assert all(set(rule["verbs"]) <= READ for rule in roles["ringyard-view"]["rules"])
    for rule in roles["ringyard-edit"]["rules"]:
        assert not any(resource.endswith("/status") for resource in rule["resources"])


def test_the_operators_pods_are_restricted_two_and_probed() -> None:
    (deployment,) = of_kind("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["resources"]["requests"] and "memory" in container["resources"]["limits"]
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (coordinator,) = (each for each in of_kind("Service") if each["metadata"]["name"] == "ringyard-coordinator")
    assert "selector" not in coordinator["spec"]
