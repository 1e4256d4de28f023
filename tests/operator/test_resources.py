"""The objects behind a job and an endpoint: what workers are told, what a template may change, what rolls nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ringyard_api import podtemplate
from ringyard_api.loading import from_object
from ringyard_api.metadata import ObjectMeta
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointSpec, ModelVersion
from ringyard_api.trainingjob import TrainingJob
from ringyard_operator.resources import names
from ringyard_operator.resources.children import job_children
from ringyard_operator.resources.comparison import same
from ringyard_operator.resources.owner import is_ours
from ringyard_operator.resources.serving import endpoint_children
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import worker_pod

SETTING = Setting(trainer_image="trainer:1", serving_image="serving:1")
UID = "0f1e2d3c-4b5a"


def job(name: str = "digits", **spec: Any) -> TrainingJob:
    given = {
        "workers": {"replicas": 4, "minReplicas": 2},
        "model": {"factory": "ringyard_trainer.models:mlp"},
        "data": {"uri": "pvc://sets/digits.parquet", "label": "y"},
        "fit": {"epochs": 1},
        "storage": {"uri": "pvc://models/runs"},
        **spec,
    }
    metadata = {"name": name, "namespace": "ml", "uid": UID, "generation": 3}
    made = from_object(
        {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": metadata, "spec": given}
    )
    assert isinstance(made, TrainingJob)
    return made


def pod(of: TrainingJob | None = None, index: int = 1, attempt: int = 2) -> dict[str, Any]:
    return worker_pod(of or job(), index, attempt, SETTING)


def templated(template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    assert podtemplate.problems(template) == ()
    return pod(job(workers={"replicas": 2, "template": template}, **spec))


def environment(of: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in of["spec"]["containers"][0]["env"]}


def mounts(of: dict[str, Any]) -> dict[str, bool]:
    return {each["mountPath"]: each.get("readOnly", False) for each in of["spec"]["containers"][0]["volumeMounts"]}


def endpoint(*uris: str, generation: int = 1) -> ModelEndpoint:
    versions = tuple(
        ModelVersion(version=str(n), uri=uri, digest="sha256:" + "0" * 64, weight=100 if n == len(uris) else 0)
        for n, uri in enumerate(uris, start=1)
    )
    spec = ModelEndpointSpec(versions=versions, last_version=len(uris), replicas=2)
    return ModelEndpoint(metadata=ObjectMeta(name="digits", namespace="ml", uid="e1", generation=generation), spec=spec)


def by_kind(children: tuple[dict[str, Any], ...], kind: str) -> dict[str, Any]:
    return next(each for each in children if each["kind"] == kind)


def test_a_worker_is_told_who_it_is_and_where_its_run_lies_and_its_job_is_what_the_trainer_can_read() -> None:
    told = environment(pod())
    assert (told["RINGYARD_WORKER_INDEX"], told["RINGYARD_ATTEMPT"]) == ("1", "2")
    assert told["RINGYARD_RUN_DIR"] == "/ringyard/claims/models/runs/digits-0f1e2d3c"
    assert told["RINGYARD_RUN_URI"] == "pvc://models/runs/digits-0f1e2d3c"
    assert told["RINGYARD_INCARNATION"]["fieldRef"]["fieldPath"] == "metadata.uid"
    assert told["RINGYARD_HOST"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert mounts(pod())["/ringyard/claims/models"] is False and mounts(pod())["/ringyard/claims/sets"] is True
    read = from_object(json.loads(by_kind(job_children(job(), SETTING), "ConfigMap")["data"]["job.json"]))
    assert isinstance(read, TrainingJob) and read.spec.data is not None
    assert read.spec.data.uri == "file:///ringyard/claims/sets/digits.parquet"
    assert "accuracy" in read.spec.evaluate.metrics, "it is resolved"


def test_without_storage_the_run_goes_with_the_pod_and_has_no_name_for_others() -> None:
    told = environment(pod(job(storage=None, data={"uri": "sklearn://digits"})))
    assert told["RINGYARD_RUN_DIR"].startswith("/tmp/") and "RINGYARD_RUN_URI" not in told


def test_workers_of_one_gang_are_told_the_same_whatever_is_changed_while_it_runs() -> None:
    before, after = job(), job(workers={"replicas": 9, "minReplicas": 3}, serve={"endpoint": "x"})
    assert by_kind(job_children(before, SETTING), "ConfigMap") == by_kind(job_children(after, SETTING), "ConfigMap")
    assert pod(before) == pod(after)
    budgets = [by_kind(job_children(each, SETTING), "PodDisruptionBudget") for each in (before, after)]
    assert [each["spec"]["maxUnavailable"] for each in budgets] == [2, 6]


def test_names_of_63_characters_are_cut_stay_apart_and_are_valid() -> None:
    long = "a" * 62
    made = [names.worker_pod(long + end, index, 0) for end in "ab" for index in (0, 10)]
    made += [names.headless(long + "a"), names.worker_host(long + "a", 1), names.config_map(long + "a")]
    assert len(set(made)) == len(made) and max(map(len, made)) == 63
    assert names.worker_pod("digits", 3, 12) == "digits-3-12"
    assert names.worker_pod("a" * 53 + "-bbbbbbbbb", 0, 0).count("--") == 0


def test_a_template_reaches_the_worker_by_kubernetes_own_merge_keys() -> None:
    made = templated(
        {
            "metadata": {"labels": {"team": "vision"}, "annotations": {"note": "x"}},
            "env": [{"name": "FIRST", "value": "1"}],
            "spec": {
                "nodeSelector": {"gpu": "h200"},
                "imagePullSecrets": [{"name": "pull"}],
                "terminationGracePeriodSeconds": 120,
                "securityContext": {"runAsUser": 1000, "seccompProfile": None},
                "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "tmp", "hostPath": {"path": "/fast"}}],
                "containers": [
                    {
                        "env": [{"name": "OMP_NUM_THREADS", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                    }
                ],
            },
        }
    )
    spec, told = made["spec"], environment(made)
    assert made["metadata"]["labels"].items() >= {"team": "vision", names.JOB: "digits"}.items()
    assert told["FIRST"] == "1" and told["OMP_NUM_THREADS"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert [each for each in spec["containers"][0]["env"] if each["name"] == "OMP_NUM_THREADS"] == [
        {"name": "OMP_NUM_THREADS", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    ], "value and valueFrom exclude each other"
    assert mounts(made).keys() >= {"/scratch", "/tmp", "/ringyard/job"}
    assert {"name": "tmp", "hostPath": {"path": "/fast"}} in spec["volumes"]
    assert spec["securityContext"]["runAsUser"] == 1000 and "seccompProfile" not in spec["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True, "what the template does not name stays"
    assert (spec["nodeSelector"], spec["terminationGracePeriodSeconds"]) == ({"gpu": "h200"}, 120)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({"spec": {"hostname": "x"}}, "spec.hostname"),
        ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy"),
        ({"spec": {"containers": [{"name": "worker"}, {"name": "log"}]}}, "spec.containers[1].name"),
        ({"spec": {"containers": [{"command": ["sh"]}]}}, "spec.containers[0].command"),
        ({"spec": {"containers": [{"volumeMounts": [{"name": "a", "mountPath": "/ringyard/x"}]}]}}, "mountPath"),
        ({"spec": {"volumes": [{"name": "ringyard-token"}]}}, "spec.volumes[0].name"),
        ({"spec": {"volumes": {"name": "a"}}}, "spec.volumes"),
        ({"spec": {"containers": [{"$patch": "delete"}]}}, "$patch"),
        ({"spec": {"containers": "worker"}}, "spec.containers"),
        ({"spec": {"containers": [7]}}, "spec.containers[0]"),
        ({"spec": {"imagePullSecrets": [{}]}}, "spec.imagePullSecrets[0].name"),
        ({"spec": []}, "spec"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"labels": {"ringyard.dev/job": "other"}}}, "metadata.labels.ringyard.dev/job"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels.a"),
        ({"template": {}}, "template"),
    ],
)
def test_what_ringyard_itself_must_know_of_a_pod_is_no_templates_to_say(template: dict[str, Any], path: str) -> None:
    (problem,) = podtemplate.problems(template)
    assert problem.path.startswith("spec.workers.template") and problem.path.endswith(path)
    assert "\n" not in str(problem)


def test_a_lost_node_is_tolerated_for_half_a_minute_unless_the_template_says_otherwise() -> None:
    assert [each["tolerationSeconds"] for each in pod()["spec"]["tolerations"]] == [30, 30]
    patient = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 600}
    made = templated({"spec": {"tolerations": [patient]}})["spec"]["tolerations"]
    assert {each["key"]: each["tolerationSeconds"] for each in made} == {
        "node.kubernetes.io/unreachable": 600,
        "node.kubernetes.io/not-ready": 30,
    }
    assert templated({"spec": {"tolerations": [{"operator": "Exists"}]}})["spec"]["tolerations"] == [
        {"operator": "Exists"}
    ]


def test_a_queued_job_is_one_pod_group_of_its_run() -> None:
    metadata = pod(job(runPolicy={"queue": "team-a"}))["metadata"]
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert metadata["labels"]["kueue.x-k8s.io/pod-group-name"] == "digits-0f1e2d3c"
    assert metadata["annotations"] == {"kueue.x-k8s.io/pod-group-total-count": "4"}
    assert "annotations" not in pod()["metadata"]


def test_every_child_belongs_to_its_owner_and_a_strangers_object_of_that_name_does_not() -> None:
    for each in (pod(), *job_children(job(), SETTING)):
        assert is_ours(each, UID) and each["metadata"]["namespace"] == "ml"
    stranger = {"metadata": {"name": "digits-job", "ownerReferences": [{"uid": UID}]}}  # an owner, not the controller
    assert not is_ours(stranger, UID) and not is_ours({"metadata": {}}, UID)


def test_a_job_and_an_endpoint_of_the_same_name_have_no_child_in_common() -> None:
    children = (*job_children(job(), SETTING), *endpoint_children(endpoint(), SETTING, "t"))
    both = [(each["kind"], each["metadata"]["name"]) for each in children]
    assert len(set(both)) == len(both)


def test_a_new_version_changes_what_servers_hold_and_rolls_none_of_them() -> None:
    one = endpoint_children(endpoint("pvc://models/runs/a/model"), SETTING, "t")
    two = endpoint_children(endpoint("pvc://models/runs/a/model", "pvc://models/runs/b/model"), SETTING, "t")
    assert by_kind(one, "Deployment") == by_kind(two, "Deployment")
    wanted = json.loads(by_kind(two, "ConfigMap")["data"]["wanted.json"])
    assert wanted["versions"][1]["uri"] == "file:///ringyard/claims/models/runs/b/model"
    elsewhere = endpoint_children(endpoint("pvc://models/runs/a/model", "pvc://other/b/model"), SETTING, "t")
    (container,) = by_kind(elsewhere, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounted = {each["mountPath"]: each.get("readOnly") for each in container["volumeMounts"]}
    assert mounted["/ringyard/claims/other"] is True, "a claim that is new has to be mounted"


def test_a_server_that_goes_has_time_for_its_drain_and_no_update_takes_the_last_one_away() -> None:
    spec = by_kind(endpoint_children(endpoint(), SETTING, "t"), "Deployment")["spec"]
    arguments = dict(each.lstrip("-").split("=") for each in spec["template"]["spec"]["containers"][0]["args"])
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > int(arguments["drain-seconds"]) + int(arguments["grace-seconds"])
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    services = [each for each in endpoint_children(endpoint(), SETTING, "t") if each["kind"] == "Service"]
    for service in services:
        assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()


def test_what_the_api_server_adds_is_no_difference_and_what_somebody_changed_is() -> None:
    desired = by_kind(job_children(job(), SETTING), "Service")
    actual = json.loads(json.dumps(desired))
    actual["spec"] |= {"type": "ClusterIP", "sessionAffinity": "None"}
    actual["metadata"] |= {"resourceVersion": "7", "managedFields": []}
    assert same(desired, actual)
    actual["spec"]["selector"] = {"app": "mine"}
    assert not same(desired, actual) and not same(desired, None)


def test_the_image_of_a_job_wins_over_that_of_the_installation_and_pods_carry_its_pull_secrets() -> None:
    setting = replace(SETTING, image_pull_secrets=("company",), priority_class_name="batch")
    made = worker_pod(job(image="mine:2", runPolicy={"priorityClassName": "urgent"}), 0, 0, setting)
    assert made["spec"]["containers"][0]["image"] == "mine:2"
    assert (made["spec"]["imagePullSecrets"], made["spec"]["priorityClassName"]) == ([{"name": "company"}], "urgent")
