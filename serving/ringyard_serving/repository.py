"""The versions a server holds: loads what is wanted, swaps when it is ready, lets go after the last request.

`control` applies wanted lists, the servicer takes leases; both on the event loop, so no locks. Loading runs in one
thread of its own. The old versions answer until a new one is ready, and go on answering if it fails. What a version is
made of is the loader's matter; which one answers is `policy`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from numpy.typing import NDArray

from ringyard_serving.errors import ArtifactError, ArtifactUnseen, Refusal, Situation
from ringyard_serving.policy import WeightedChoice
from ringyard_serving.signature import Tensor
from ringyard_serving.wanted import Wanted, WantedVersion, is_version

_LOOK_AGAIN_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where a version stands."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class Model(Protocol):
    """What a loader gives: a signature, and a thread-safe call."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...
    @property
    def outputs(self) -> Sequence[Tensor]: ...
    @property
    def platform(self) -> str: ...

    @property
    def features(self) -> Sequence[str]: ...
    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...


@dataclass(kw_only=True)
class Slot:
    """One version in this server. Only the repository writes it."""

    want: WantedVersion
    phase: Phase = Phase.LOADING
    reason: str = ""
    model: Model | None = None
    requests: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Repository:
    """All versions of one model."""

    def __init__(
        self,
        name: str,
        load: Callable[[WantedVersion], Model],
        forget: Callable[[str], None],
        store_seconds: float = 0.0,
    ) -> None:
        """`load` runs in the loader's thread and raises `ArtifactError`; `forget` drops the local copy of a digest.

        `store_seconds`: for so long an artifact that the store does not show is looked for again.
        """
        self.name = name
        self.generation = -1
        self.changed: Callable[[], None] = lambda: None
        self._load = load
        self._forget = forget
        self._store_seconds = store_seconds
        self._wanted: tuple[WantedVersion, ...] = ()
        self._slots: dict[str, Slot] = {}
        self._choice = WeightedChoice()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")

    @property
    def ready(self) -> bool:
        """Whether a request that names no version gets an answer."""
        return bool(self._choice.versions)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every version this server knows of, by number."""
        return tuple(sorted(self._slots.values(), key=lambda slot: int(slot.want.version)))

    def apply(self, wanted: Wanted) -> None:
        """Starts to follow this list. A lower generation than the last is ignored; a newer one retries what failed."""
        if wanted.model != self.name:
            raise Refusal(Situation.UNKNOWN, f"this server serves model '{self.name}', not '{wanted.model}'")
        if wanted.generation < self.generation:
            return
        for want in wanted.versions:
            slot = self._slots.get(want.version)
            if slot is not None and slot.want.digest != want.digest:
                raise Refusal(
                    Situation.BAD_REQUEST,
                    f"version {want.version} of '{self.name}' is {slot.want.digest}: a number never changes its model",
                )
        newer = wanted.generation > self.generation
        self.generation = wanted.generation
        self._wanted = wanted.versions
        for want in wanted.versions:
            slot = self._slots.get(want.version)
            if slot is None or (slot.phase is Phase.FAILED and newer):
                self._start(want)
            else:
                slot.want = want
        self._settle()

    @contextmanager
    def lease(self, version: str) -> Iterator[tuple[str, Model]]:
        """A version that stays loaded until the caller is done: the one named, or the policy's for ''."""
        slot = self._find(version)
        if slot.model is None or slot.phase not in (Phase.READY, Phase.UNLOADING):
            reason = f": {slot.reason}" if slot.reason else ""
            raise Refusal(
                Situation.NOT_READY, f"model '{self.name}' version {slot.want.version} is {slot.phase}{reason}"
            )
        slot.requests += 1
        try:
            yield slot.want.version, slot.model
        finally:
            slot.requests -= 1
            if slot.phase is Phase.UNLOADING and not slot.requests:
                self._drop(slot)
                self.changed()

    def is_ready(self, version: str) -> bool:
        """Whether this version ('' = any by the policy) would answer now."""
        if version == "":
            return self.ready
        _check_version(self.name, version)
        slot = self._slots.get(version)
        return slot is not None and slot.phase is Phase.READY

    async def close(self) -> None:
        """Ends loading; what is loaded goes with the process."""
        tasks = [slot.task for slot in self._slots.values() if slot.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _find(self, version: str) -> Slot:
        if version == "":
            chosen = self._choice.next()
            if chosen is None:
                reasons = [slot.reason for slot in self._slots.values() if slot.reason]
                raise Refusal(
                    Situation.NOT_READY,
                    f"model '{self.name}' has no version that is ready" + (f": {reasons[-1]}" if reasons else " yet"),
                )
            return self._slots[chosen]
        _check_version(self.name, version)
        slot = self._slots.get(version)
        if slot is None:
            known = ", ".join(slot.want.version for slot in self.slots) or "none"
            raise Refusal(Situation.UNKNOWN, f"model '{self.name}' has no version {version}; it has {known}")
        return slot

    def _start(self, want: WantedVersion) -> None:
        slot = Slot(want=want)
        self._slots[want.version] = slot
        slot.task = asyncio.get_running_loop().create_task(self._bring_up(slot))

    async def _bring_up(self, slot: Slot) -> None:
        want = slot.want
        try:
            slot.model = await self._loaded(slot)
            slot.phase, slot.reason = Phase.READY, ""
            _log.info("model '%s' version %s is ready", self.name, want.version)
        except ArtifactError as error:
            slot.phase, slot.reason = Phase.FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - a loader's fault must not take the old version with it
            slot.phase, slot.reason = Phase.FAILED, f"cannot be loaded: {type(error).__name__}: {error}"
        if slot.phase is Phase.FAILED:
            _log.error("model '%s' version %s is not served: %s", self.name, want.version, slot.reason)
        slot.task = None
        self._settle()

    async def _loaded(self, slot: Slot) -> Model:
        """The model, once the store shows it. Raises `ArtifactError`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._store_seconds
        while True:
            try:
                return await loop.run_in_executor(self._loader, self._load, slot.want)
            except ArtifactUnseen as error:
                if loop.time() >= until or all(slot.want.digest != want.digest for want in self._wanted):
                    raise
                slot.reason = f"{error}: looking again"
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _settle(self) -> None:
        """Routes by the weights of what is ready, and lets go of what nobody wants or is routed to."""
        self._route()
        named = {want.version for want in self._wanted}
        for slot in list(self._slots.values()):
            keep = slot.want.version in named or slot.want.version in self._choice.versions
            if keep and slot.phase is Phase.UNLOADING:
                slot.phase = Phase.READY
            elif not keep and slot.phase is not Phase.LOADING:
                slot.phase = Phase.UNLOADING
                if not slot.requests:
                    self._drop(slot)
        self.changed()

    def _route(self) -> None:
        held = {v: s for v, s in self._slots.items() if s.model is not None}
        weights = tuple((want.version, want.weight) for want in self._wanted if want.weight and want.version in held)
        if not weights and self._wanted:  # nothing new is ready: what answered goes on answering
            weights = tuple((version, weight) for version, weight in self._choice.weights if version in held)
        if weights != self._choice.weights:
            self._choice = WeightedChoice(weights)

    def _drop(self, slot: Slot) -> None:
        if self._slots.get(slot.want.version) is slot:
            del self._slots[slot.want.version]
        slot.model = None
        if all(other.want.digest != slot.want.digest for other in self._slots.values()):
            self._forget(slot.want.digest)
        _log.info("model '%s' version %s is unloaded", self.name, slot.want.version)


def _check_version(model: str, version: str) -> None:
    if not is_version(version):
        raise Refusal(Situation.BAD_REQUEST, f"model '{model}': version '{version}' is not a number: 1, 2, 3 …")
