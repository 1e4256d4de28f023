"""What a request to the API server carries to prove who asks, fetched again when it goes stale.

`access` chooses one for a kubeconfig's user; `Api` asks it before each request and tells it when it was refused. Tokens
are in headers only: never in a message, a log or a `repr`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ringyard_operator.errors import ClusterUnknown

_REREAD_SECONDS = 60.0  # the kubelet rotates a projected token long before it expires
_PLUGIN_SECONDS = 60.0
_EARLY_SECONDS = 30.0  # a credential is fetched anew so long before it expires


class Credentials(Protocol):
    """Who we are to one API server."""

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """What to send with a request; a plugin may also give `tls` a client certificate."""

    def refused(self) -> bool:
        """The API server answered 401: forget what is cached. Returns whether asking again may help."""


class Anonymous:
    """No header: a client certificate says who we are, or nothing does."""

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """Nothing."""
        del tls
        return {}

    def refused(self) -> bool:
        """Nothing is cached."""
        return False


class Fixed(Anonymous):
    """A token that stands in the kubeconfig."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """The token as a bearer."""
        del tls
        return {"Authorization": f"Bearer {self._token}"}


class Basic(Anonymous):
    """A user name with a password."""

    def __init__(self, user: str, password: str) -> None:
        self._pair = base64.b64encode(f"{user}:{password}".encode()).decode()

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """The pair as RFC 7617 wants it."""
        del tls
        return {"Authorization": f"Basic {self._pair}"}


class TokenFile:
    """A token in a file that somebody else renews, as the kubelet does in a pod."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token, self._read_at = "", 0.0

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """The token, read again once a minute."""
        del tls
        now = time.monotonic()
        if not self._token or now - self._read_at > _REREAD_SECONDS:
            try:
                self._token = self._path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ClusterUnknown(f"{self._path}: the token cannot be read: {error.strerror}") from error
            self._read_at = now
        return {"Authorization": f"Bearer {self._token}"}

    def refused(self) -> bool:
        """A rotated file may hold a better one."""
        again = bool(self._token)
        self._token = ""
        return again


class Plugin:
    """An exec plugin of a kubeconfig (client.authentication.k8s.io/v1 or v1beta1), asked again when its answer expires.

    Source: kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
    """

    def __init__(self, config: Mapping[str, Any], place: str, cluster: Mapping[str, Any]) -> None:
        self._config, self._place, self._cluster = config, place, cluster
        self._token, self._until = "", 0.0
        self._asking = asyncio.Lock()

    async def headers(self, tls: ssl.SSLContext | None) -> Mapping[str, str]:
        """The plugin's token, if it gave one; its certificate goes into `tls`."""
        async with self._asking:
            if time.time() >= self._until:
                await self._ask(tls)
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def refused(self) -> bool:
        """Asking the plugin anew may help."""
        again = self._until > 0
        self._until = 0.0
        return again

    async def _ask(self, tls: ssl.SSLContext | None) -> None:
        command = str(self._config.get("command", ""))
        words = [command, *map(str, self._config.get("args") or ())]
        extra = {str(each["name"]): str(each["value"]) for each in self._config.get("env") or () if "name" in each}
        spec: dict[str, Any] = {"interactive": False}
        if self._config.get("provideClusterInfo"):
            spec["cluster"] = dict(self._cluster)
        version = str(self._config.get("apiVersion", "client.authentication.k8s.io/v1"))
        question = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})
        environment = {**os.environ, **extra, "KUBERNETES_EXEC_INFO": question}
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=environment
            )
        except OSError as error:
            hint = " ".join(str(self._config.get("installHint") or "").split())
            sentence = f"{self._place}: the credential plugin {command!r} cannot be started: {error.strerror}"
            raise ClusterUnknown(f"{sentence}{': ' + hint if hint else ''}") from error
        try:
            answer, _ = await asyncio.wait_for(process.communicate(), _PLUGIN_SECONDS)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            sentence = f"the credential plugin {command!r} gave no answer within {_PLUGIN_SECONDS:g} s"
            raise ClusterUnknown(f"{self._place}: {sentence}") from error
        if process.returncode:
            raise ClusterUnknown(f"{self._place}: the credential plugin {command!r} ended with {process.returncode}")
        self._take(answer, command, tls)

    def _take(self, answer: bytes, command: str, tls: ssl.SSLContext | None) -> None:
        from ringyard_operator.kube.access import load_pair

        try:
            status = json.loads(answer)["status"]
            token, expires = str(status.get("token") or ""), status.get("expirationTimestamp")
            self._until = datetime.fromisoformat(expires).timestamp() - _EARLY_SECONDS if expires else float("inf")
            certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
            if certificate and key and tls is not None:
                load_pair(tls, certificate.encode(), key.encode())
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            sentence = f"the credential plugin {command!r} gave no ExecCredential"  # never its answer: it holds a token
            raise ClusterUnknown(f"{self._place}: {sentence}") from error
        self._token = token
