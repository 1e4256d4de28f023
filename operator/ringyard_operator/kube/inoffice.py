"""The API as the Lease's holder uses it: each write first looks whether the Lease is still held.

Made by `office`; all that works in a term writes through it. So no write of ours is begun once another may be in
office (ARCHITECTURE.md §Who leads). Reading is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ringyard_operator.errors import RingyardError
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api, Json


class OutOfOffice(RingyardError):
    """The Lease is not held any more: nothing may be written."""


class OfficeApi(Api):
    """An `Api` that refuses to write where `held` says no."""

    def __init__(self, access: Access, held: Callable[[], bool]) -> None:
        super().__init__(access)
        self._held = held

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
        if method != "GET" and not self._held():
            raise OutOfOffice(f"{what}: not done, the Lease is not held any more")
        return await super()._ask(method, path, what, params=params, body=body, form=form)
