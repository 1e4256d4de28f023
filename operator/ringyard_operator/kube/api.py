"""A small client of the Kubernetes API: plain JSON objects in and out, over one pool of connections.

Everybody in `kube` calls it, and the command line on a cluster. Each call is one request (a list: one a page) with a
time limit; nothing is retried but a refused credential, because every caller decides anew anyway. It knows no object's
meaning. Errors become `KubeError`s here, once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from ringyard_operator.errors import KubeNotFound, KubeUnreachable
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.answers import as_error, unreachable
from ringyard_operator.kube.kinds import Kind

Json = dict[str, Any]
Objects = list[Json]

REQUEST_SECONDS = 10.0
SILENCE_SECONDS = 70.0  # the API server sends a bookmark a minute
_WATCH_SECONDS = (240, 300)
_PAGE = 500
_MERGE, _APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


class Api:
    """One API server. Made and closed inside a running event loop."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """One object. Raises `KubeNotFound`."""
        return await self._ask("GET", kind.path(namespace, name), f"reading {kind.resource} {name}")

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Objects:
        """All objects of a namespace, or of all; `labels` and `fields` are selectors."""
        return (await self.listing(kind, namespace, labels=labels, fields=fields))[0]

    async def listing(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """All objects with the resourceVersion from which a watch goes on."""
        found: Objects = []
        params = _params(labelSelector=labels, fieldSelector=fields, limit=str(_PAGE))
        while True:
            page = await self._ask("GET", kind.path(namespace), f"listing {kind.resource}", params=params)
            for each in page.get("items") or ():
                each.setdefault("apiVersion", kind.api_version)  # a list's items do not say what they are
                each.setdefault("kind", kind.kind)
                found.append(each)
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            params["continue"] = metadata["continue"]

    async def create(self, kind: Kind, body: Json, *, dry_run: bool = False, strict: bool = False) -> Json:
        """Makes an object; `strict` refuses fields that the API server does not know. Raises `KubeExists`."""
        metadata = body.get("metadata") or {}
        what = f"creating {kind.resource} {metadata.get('name') or metadata.get('generateName', '')}".rstrip()
        return await self._ask(
            "POST", kind.path(metadata.get("namespace", "")), what, body=body, params=_writing(dry_run, strict)
        )

    async def replace(self, kind: Kind, body: Json, *, subresource: str = "") -> Json:
        """Puts the whole object, if it still has the resourceVersion in `body`. Raises `KubeConflict`."""
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace", "")
        path = kind.path(namespace, name, subresource)
        return await self._ask("PUT", path, f"updating {kind.resource} {name}", body=body)

    async def apply(
        self,
        kind: Kind,
        body: Json,
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> Json:
        """Server-side apply: `body` is all that `manager` wants; a resourceVersion in it must hold."""
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace", "")
        params = {**_writing(dry_run, strict), "fieldManager": manager, "force": str(force).lower()}
        path = kind.path(namespace, name, subresource)
        return await self._ask("PATCH", path, f"applying {kind.resource} {name}", body=body, params=params, form=_APPLY)

    async def patch(self, kind: Kind, name: str, namespace: str, body: Json, *, subresource: str = "") -> Json:
        """JSON merge patch. Raises `KubeNotFound`; `KubeConflict` if a resourceVersion in it no longer holds."""
        path = kind.path(namespace, name, subresource)
        return await self._ask("PATCH", path, f"patching {kind.resource} {name}", body=body, form=_MERGE)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        *,
        uid: str = "",
        resource_version: str = "",
        grace: float | None = None,
        propagation: str = "Background",
    ) -> Json | None:
        """Deletes that very object; None if it was gone already. Raises `KubeConflict` if it is another one now."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        options["preconditions"] = _params(uid=uid, resourceVersion=resource_version)
        if grace is not None:
            options["gracePeriodSeconds"] = int(grace)
        try:
            return await self._ask(
                "DELETE", kind.path(namespace, name), f"deleting {kind.resource} {name}", body=options
            )
        except KubeNotFound:
            return None

    async def watch(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", resource_version: str
    ) -> AsyncGenerator[tuple[str, Json]]:
        """What happens after `resource_version`: ADDED, MODIFIED, DELETED, BOOKMARK with the object each.

        Ends when the API server ends it, which is no error. Raises `KubeExpired` where only a fresh list helps, and
        `KubeUnreachable` after a silence in which there should have been a bookmark.
        """
        params = _params(
            labelSelector=labels,
            fieldSelector=fields,
            resourceVersion=resource_version,
            watch="1",
            allowWatchBookmarks="true",
            timeoutSeconds=str(random.randint(*_WATCH_SECONDS)),
        )
        what = f"watching {kind.resource}"
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        async with self.open("GET", kind.path(namespace), what, params=params, timeout=quiet) as answer:
            async for line in lines_of(answer.content):
                try:
                    event = json.loads(line)
                except ValueError as error:
                    raise KubeUnreachable(f"{what}: {self.access.name} sent what is no event") from error
                if event["type"] == "ERROR":
                    raise as_error(int(event["object"].get("code") or 0), event["object"], what, self.access.name)
                yield event["type"], event["object"]

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        form: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request whose answer the caller reads as it comes. Raises `KubeError`, also while it is read."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            for last in (False, True):
                headers = {"Accept": "application/json", **await self._identity()}
                if data is not None:
                    headers["Content-Type"] = form
                async with self.session().request(
                    method,
                    self.access.server + path,
                    params=params,
                    data=data,
                    headers=headers,
                    timeout=timeout or aiohttp.ClientTimeout(total=REQUEST_SECONDS),
                    proxy=self.access.proxy or None,
                    server_hostname=self.access.server_name or None,
                    allow_redirects=False,
                ) as answer:
                    if answer.status == 401 and not last and self.access.credentials.refused():
                        continue
                    if answer.status >= 300:
                        raise await self._refusal(answer, what)
                    yield answer
                    return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(error, what, self.access) from error

    async def websocket(self, path: str, protocol: str, what: str) -> aiohttp.ClientWebSocketResponse:
        """A websocket of the API server that speaks `protocol`; the caller closes it."""
        try:
            return await self.session().ws_connect(
                self.access.server + path,
                protocols=(protocol,),
                headers=await self._identity(),
                proxy=self.access.proxy or None,
                server_hostname=self.access.server_name or None,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=REQUEST_SECONDS),
            )
        except aiohttp.WSServerHandshakeError as error:
            said = {"reason": "Refused", "message": f"refused with HTTP {error.status}"}  # the reason cannot be read
            raise as_error(error.status, said, what, self.access.name) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(error, what, self.access) from error

    def session(self) -> aiohttp.ClientSession:
        """The pool of connections, made when it is first needed."""
        if self._session is None:
            # No limit: a watch holds a connection for ever, and those of a dozen namespaces starved the rest.
            pool = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=self.access.tls or True)
            self._session = aiohttp.ClientSession(
                connector=pool, headers={"User-Agent": "ringyard"}, read_bufsize=1 << 18, trust_env=False
            )
        return self._session

    async def _identity(self) -> Mapping[str, str]:
        return await self.access.credentials.headers(self.access.tls)

    async def _ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        form: str = "application/json",
    ) -> Json:
        async with self.open(method, path, what, params=params, body=body, form=form) as answer:
            data = await answer.read()
        try:
            content = json.loads(data)
        except ValueError as error:
            raise KubeUnreachable(f"{what}: {self.access.name} answered with no JSON") from error
        return content if isinstance(content, dict) else {}

    async def _refusal(self, answer: aiohttp.ClientResponse, what: str) -> Exception:
        data = await answer.read()
        try:
            status = json.loads(data)
        except ValueError:
            status = {"message": data[:200].decode("utf-8", "replace").strip()}
        return as_error(answer.status, status, what, self.access.name, answer.headers.get("Retry-After", ""))


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, however long."""
    rest = b""
    async for block in content.iter_any():
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if line:
                yield line
        await asyncio.sleep(0)  # a flood of events must not starve everybody else
    if rest:
        yield rest


def _params(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _writing(dry_run: bool, strict: bool) -> dict[str, str]:
    params = {"fieldValidation": "Strict" if strict else "Warn"}
    return {**params, "dryRun": "All"} if dry_run else params
