"""A session with the API server for somebody else's client: kopf's, which brings its own requests and no identity.

`handlers` hands it to kopf. Both clients are one identity, and a token that is renewed on disk is followed by both.
"""

from __future__ import annotations

import aiohttp

from ringyard_operator.kube.access import Access


def visitor(access: Access) -> aiohttp.ClientSession:
    """A new session, which its user closes. A refused credential is looked up anew with the next request."""

    async def identify(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.server_hostname = access.server_name or None
        request.headers.update(await access.credentials.headers(access.tls))
        answer = await handler(request)
        if answer.status == 401:
            access.credentials.refused()
        return answer

    pool = aiohttp.TCPConnector(limit=0, ssl=access.tls or True)
    return aiohttp.ClientSession(
        connector=pool,
        headers={"User-Agent": "ringyard"},
        middlewares=(identify,),
        proxy=access.proxy or None,
        trust_env=False,
    )
