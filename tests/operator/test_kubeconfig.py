"""Which cluster a kubeconfig means, who we are there, and what is said where it means none. Nothing is dialled."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ringyard_operator.errors import ClusterUnknown
from ringyard_operator.kube.access import Access


def kubeconfig(file: Path, *contexts: str, current: str = "", user: Any = None, **cluster: Any) -> Path:
    content = {
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com:6443/", **cluster}}],
        "users": [{"name": "u", "user": user or {"token": "secret-token"}}],
        "contexts": [{"name": each, "context": {"cluster": "c", "user": "u", "namespace": each}} for each in contexts],
    }
    file.write_text(json.dumps(content))  # JSON is YAML
    return file


def headers(access: Access) -> dict[str, str]:
    return dict(asyncio.run(access.credentials.headers(access.tls)))


def test_a_context_gives_server_namespace_and_token_and_the_token_is_in_no_repr(tmp_path: Path) -> None:
    access = Access.from_kubeconfig(kubeconfig(tmp_path / "config", "dev", "prod", current="dev"), "prod")
    assert (access.server, access.namespace, access.name) == ("https://api.example.com:6443", "prod", "context prod")
    assert headers(access) == {"Authorization": "Bearer secret-token"}
    assert "secret-token" not in repr(access)


def test_the_first_of_several_files_that_names_something_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = kubeconfig(tmp_path / "one", "dev", current="dev")
    two = kubeconfig(tmp_path / "two", "dev", "prod", current="prod", user={"token": "other"})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/absent:{one}:{two}")
    assert Access.find().name == "context dev"
    assert Access.find(context="prod").namespace == "prod"
    assert headers(Access.find()) == {"Authorization": "Bearer secret-token"}


def test_a_token_file_is_read_again_when_its_token_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"  # named in the kubeconfig by a path from its own folder
    token.write_text("first\n")
    access = Access.from_kubeconfig(kubeconfig(tmp_path / "config", "dev", current="dev", user={"tokenFile": "token"}))
    assert headers(access) == {"Authorization": "Bearer first"}
    token.write_text("second\n")
    assert access.credentials.refused()
    assert headers(access) == {"Authorization": "Bearer second"}


@pytest.mark.parametrize(
    ("content", "context", "said"),
    [
        ({"contexts": ("dev",)}, None, "has no current-context: choose one with --context dev"),
        ({"contexts": ("dev", "prod")}, "prd", "has no context 'prd': did you mean 'prod'?"),
        ({"contexts": ("dev",), "server": "tcp://x"}, "dev", "the cluster of context 'dev' has no server URL"),
        ({"contexts": ("dev",), "proxy-url": "socks5://x:1"}, "dev", "proxy-url 'socks5://x:1' is not supported"),
        ({"contexts": ("dev",), "certificate-authority": "absent.crt"}, "dev", "its certificates cannot be used"),
        ({"contexts": ("dev",), "certificate-authority-data": "bm8="}, "dev", "its certificates cannot be used"),
        ({"contexts": ("dev",), "user": {"auth-provider": {"name": "gcp"}}}, "dev", "use an exec plugin"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_file(
    tmp_path: Path, content: dict[str, Any], context: str | None, said: str
) -> None:
    file = kubeconfig(tmp_path / "config", *content.pop("contexts"), **content)
    with pytest.raises(ClusterUnknown) as refused:
        Access.from_kubeconfig(file, context)
    assert said in str(refused.value) and str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_plugin_that_is_not_there_names_its_hint(tmp_path: Path) -> None:
    plugin = {"command": "/no/such/plugin", "installHint": "install it\nfrom example.com", "apiVersion": "x"}
    access = Access.from_kubeconfig(kubeconfig(tmp_path / "config", "dev", current="dev", user={"exec": plugin}))
    with pytest.raises(ClusterUnknown, match=r"cannot be started: No such file or directory: install it from"):
        headers(access)


def test_no_kubeconfig_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(ClusterUnknown, match=r"set \$KUBECONFIG or give --kubeconfig"):
        Access.find()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(ClusterUnknown, match=r"\$KUBECONFIG: no such file: .*absent"):
        Access.find()
    (tmp_path / "spoilt").write_bytes(base64.b64decode("/////w=="))
    with pytest.raises(ClusterUnknown, match="is no kubeconfig"):
        Access.find(tmp_path / "spoilt")
