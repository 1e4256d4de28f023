"""The operator's own Secret, and the keys that are made of it: one for each job's ring, one for each endpoint.

Whoever holds the Lease reads it once; nothing that has to be kept is made for a job, so nothing can be lost or leak
with it. It knows no job beyond its uid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from ringyard_operator.errors import KubeError, KubeExists, KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import SECRETS

NAME = "ringyard-operator"
_ENTRY = "key"
_BYTES = 32


async def operator_secret(api: Api, namespace: str) -> bytes:
    """The secret, made if there is none. Of two replicas that make it at once the first one's stands for both.

    Raises:
        KubeError: it cannot be read or made, or what is there is none of ours.
    """
    try:
        found = await api.get(SECRETS, NAME, namespace)
    except KubeNotFound:
        found = await _make(api, namespace)
    try:
        key = base64.b64decode(found["data"][_ENTRY], validate=True)
    except (KeyError, TypeError, binascii.Error):
        key = b""
    if len(key) < _BYTES:
        raise KubeError(
            f"secret {namespace}/{NAME}: has no entry {_ENTRY!r} of {_BYTES} bytes or more: delete it, and the "
            "operator makes a new one"
        )
    return key


async def _make(api: Api, namespace: str) -> Json:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "ringyard", "app.kubernetes.io/managed-by": "ringyard"},
        },
        "type": "Opaque",
        "data": {_ENTRY: base64.b64encode(secrets.token_bytes(_BYTES)).decode()},
    }
    try:
        return await api.create(SECRETS, body)
    except KubeExists:
        return await api.get(SECRETS, NAME, namespace)


def job_key(secret: bytes, uid: str) -> bytes:
    """By which the members of one job know each other; it comes to them with the view."""
    return hmac.new(secret, f"job {uid}".encode(), hashlib.sha256).digest()


def endpoint_token(secret: bytes, uid: str) -> str:
    """By which the servers of one endpoint know the operator."""
    return hmac.new(secret, f"endpoint {uid}".encode(), hashlib.sha256).hexdigest()
