"""Our Kubernetes client on a real API server: what a store shows is true, whatever happens to its watch."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_gate import access_of, through_a_gate, until
from kubectl import Kubectl
from ringyard_operator.errors import (
    ClusterUnknown,
    KubeConflict,
    KubeExists,
    KubeForbidden,
    KubeInvalid,
    KubeKindUnknown,
    KubeNotFound,
    KubeUnreachable,
)
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import CONFIG_MAPS, SERVICES, Kind
from ringyard_operator.kube.store import Store

OURS = "test=yes"


def config_map(kubectl: Kubectl, name: str, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": kubectl.namespace, "labels": {"test": "yes"}, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": "0"}}


@asynccontextmanager
async def kept(api: Api, kubectl: Kubectl) -> AsyncIterator[tuple[Store, list[str]]]:
    """A store of the test's ConfigMaps that is kept true, and the names that it called out."""
    told: list[str] = []
    store = Store(
        api,
        CONFIG_MAPS,
        namespace=kubectl.namespace,
        labels=OURS,
        changed=lambda obj: told.append(obj["metadata"]["name"]),
    )
    task = asyncio.create_task(store.run())
    await asyncio.wait_for(store.synced.wait(), 30)
    yield store, told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def shown(store: Store) -> set[str]:
    return {each["metadata"]["name"] for each in store.all()}


def test_a_store_hears_what_happened_while_its_watch_was_cut_deletions_included(kubectl: Kubectl) -> None:
    async def story() -> None:
        access = access_of(kubectl)
        async with Api(access) as api, through_a_gate(access) as (detour, gate):
            owner = await api.create(CONFIG_MAPS, config_map(kubectl, "stays"))
            refs = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "stays", "uid": owner["metadata"]["uid"]}]
            await api.create(
                CONFIG_MAPS, config_map(kubectl, "goes", ownerReferences=[{**refs[0], "controller": True}])
            )
            async with kept(detour, kubectl) as (store, told):
                uid = owner["metadata"]["uid"]
                assert shown(store) == {"stays", "goes"} == set(told)
                assert [each["metadata"]["name"] for each in store.of_owner(uid)] == ["goes"]
                await gate.shut()
                await until(lambda: bool(store.trouble))
                await api.delete(CONFIG_MAPS, "goes", kubectl.namespace)
                await api.create(CONFIG_MAPS, config_map(kubectl, "comes"))
                told.clear()
                await gate.open()
                await until(lambda: shown(store) == {"stays", "comes"})
                assert sorted(told) == ["comes", "goes"], "what did not change is not called out"
                assert not store.trouble and not store.of_owner(uid)

    asyncio.run(story())


def test_a_store_is_never_older_than_our_own_write_and_a_late_answer_revives_nothing(kubectl: Kubectl) -> None:
    async def story() -> None:
        async with Api(access_of(kubectl)) as api, kept(api, kubectl) as (store, told):
            made = await api.create(CONFIG_MAPS, config_map(kubectl, "one"))
            store.remember(made)
            assert store.get(kubectl.namespace, "one") == made
            changed = await api.patch(CONFIG_MAPS, "one", kubectl.namespace, {"data": {"n": "1"}})
            store.remember(changed)
            store.remember(made)
            assert (store.get(kubectl.namespace, "one") or {})["data"] == {"n": "1"}
            await api.delete(CONFIG_MAPS, "one", kubectl.namespace)
            await until(lambda: "one" not in shown(store))
            store.remember(changed)
            assert "one" not in shown(store)
            await api.create(CONFIG_MAPS, config_map(kubectl, "one"))
            await until(lambda: "one" in shown(store))
            assert told.count("one") >= 3

    asyncio.run(story())


def test_a_list_of_more_than_a_page_is_whole(kubectl: Kubectl) -> None:
    async def story() -> None:
        async with Api(access_of(kubectl)) as api:
            made = [config_map(kubectl, f"n{number}") for number in range(501)]
            await asyncio.gather(*(api.create(CONFIG_MAPS, each) for each in made))
            found = await api.list(CONFIG_MAPS, kubectl.namespace, labels=OURS)
            assert {each["metadata"]["name"] for each in found} == {each["metadata"]["name"] for each in made}
            assert all(each["kind"] == "ConfigMap" and each["apiVersion"] == "v1" for each in found)

    asyncio.run(story())


def test_each_refusal_of_the_api_server_is_an_error_of_its_own(kubectl: Kubectl) -> None:
    async def story() -> None:
        space = kubectl.namespace
        async with Api(access_of(kubectl)) as api:
            made = await api.create(CONFIG_MAPS, config_map(kubectl, "there"))
            service = {"metadata": {"name": "s", "namespace": space}, "spec": {"clusterIP": "10.96.0.1", "ports": []}}
            outdated = config_map(kubectl, "there", resourceVersion="1", uid=made["metadata"]["uid"])
            for ask, error, said in (
                (lambda: api.get(CONFIG_MAPS, "absent", space), KubeNotFound, 'configmaps "absent" not found'),
                (lambda: api.create(CONFIG_MAPS, config_map(kubectl, "there")), KubeExists, "already exists"),
                (lambda: api.replace(CONFIG_MAPS, outdated), KubeConflict, "has been modified"),
                (lambda: api.apply(CONFIG_MAPS, outdated, manager="m"), KubeConflict, ""),
                (lambda: api.delete(CONFIG_MAPS, "there", space, uid="another"), KubeConflict, "UID"),
                (lambda: api.create(SERVICES, service), KubeInvalid, "clusterIP"),
                (
                    lambda: api.create(CONFIG_MAPS, config_map(kubectl, "x") | {"dta": {}}, strict=True),
                    KubeInvalid,
                    '"dta"',
                ),
                (
                    lambda: api.list(Kind(group="no.such", version="v1", plural="things", kind="Thing")),
                    KubeKindUnknown,
                    "things",
                ),
            ):
                with pytest.raises(error) as refused:
                    await ask()
                assert said in str(refused.value)
            assert await api.delete(CONFIG_MAPS, "absent", space) is None
            assert (await api.create(CONFIG_MAPS, config_map(kubectl, "dry"), dry_run=True))["metadata"]["uid"]
            assert kubectl.find("configmap", "dry") is None
        async with through_a_gate(access_of(kubectl)) as (detour, gate):
            await gate.shut()
            with pytest.raises(KubeUnreachable, match="does not answer: Connect"):
                await detour.list(CONFIG_MAPS, space)

    asyncio.run(story())


PLUGIN = """
import json, os, sys
assert json.loads(os.environ["KUBERNETES_EXEC_INFO"])["kind"] == "ExecCredential"
with open(sys.argv[1], "a") as asked:
    asked.write("x")
token, expires = open(sys.argv[2]).read().split()
status = {"token": token, "expirationTimestamp": expires}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def test_a_credential_plugin_is_asked_once_until_its_answer_expires_or_is_refused(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    asked, answer, plugin = tmp_path / "asked", tmp_path / "answer", tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin), str(asked), str(answer)],
            "interactiveMode": "Never",
        }
    }
    file = tmp_path / "config"
    file.write_text(json.dumps(config))
    good = kubectl.run("create", "token", "default").strip()

    async def story() -> None:
        async with Api(Access.from_kubeconfig(file)) as api:
            for expires, asks in (("2099-01-01T00:00:00Z", 1), ("2001-01-01T00:00:00Z", 3)):
                answer.write_text(f"{good} {expires}")
                api.access.credentials.refused()
                asked.write_text("")
                for _ in range(3):
                    with pytest.raises(KubeForbidden, match=r"system:serviceaccount:.*:default"):
                        await api.list(CONFIG_MAPS, kubectl.namespace)
                assert len(asked.read_text()) == asks
            answer.write_text("nonsense 2099-01-01T00:00:00Z")
            with pytest.raises(KubeForbidden, match=r"credentials of context .* are not accepted") as refused:
                await api.list(CONFIG_MAPS, kubectl.namespace)
            assert "nonsense" not in str(refused.value)
            answer.unlink()
            with pytest.raises(ClusterUnknown, match=r"credential plugin .* ended with 1"):
                await api.list(CONFIG_MAPS, kubectl.namespace)

    asyncio.run(story())
