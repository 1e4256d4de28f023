"""Jobs and endpoints of a cluster's namespace, over its API server: what commands work on where a cluster is chosen.

The operator looks after them; here is only what a user asks and sees. Errors of the client become sentences for a
user of Ringyard here. It knows no pod but those that a command needs (logs, a ready model server).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

from ringyard_api.defaults import resolve
from ringyard_api.loading import from_object
from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import check_replicas, check_stop, finished
from ringyard_operator.cli.describe import holds
from ringyard_operator.cli.exits import BadInput, NoSuch, TimedOut, Unavailable
from ringyard_operator.cli.reading import readable
from ringyard_operator.cli.sources import Care, checked, near
from ringyard_operator.errors import KubeError, KubeKindUnknown, KubeNotFound, KubeUnreachable
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, PODS, TRAINING_JOBS, Kind
from ringyard_operator.kube.logs import WorkerLogs
from ringyard_operator.kube.portforward import forward
from ringyard_operator.resources import names
from ringyard_operator.resources.serving import GRPC_PORT

MANAGER = "ringyard-cli"
_LOOK_SECONDS = 0.3
_PATIENCE_SECONDS = 60.0  # for a cluster that answered before: its API server may be restarting
_METADATA = ("name", "namespace", "uid", "generation", "labels", "annotations", "creationTimestamp")

T = TypeVar("T")
M = TypeVar("M", TrainingJob, ModelEndpoint)


class OnCluster:
    """A `Source`."""

    makes = "ringyard submit"

    def __init__(self, access: Access, namespace: str, flags: str) -> None:
        self.namespace, self.flags = namespace, flags
        self.place = f"namespace {namespace} of {access.name}"
        self._access = access
        self._api = Api(access)
        self._loop = asyncio.Runner()
        self._answered = False
        self._version = ""  # of the job that was read last

    @classmethod
    def of(cls, kubeconfig: os.PathLike[str] | None, context: str | None, namespace: str, *, said: bool) -> OnCluster:
        """The cluster of a kubeconfig's context; `said`: the options name it, not the environment."""
        access = Access.find(kubeconfig, context)
        words = [f"--kubeconfig {kubeconfig}" if kubeconfig else "", f"--context {context}" if context and said else ""]
        space = namespace or access.namespace
        if namespace or not any(words):  # without any of the three a command stays on this machine
            words.append(f"-n {space}")
        return cls(access, space, "".join(f" {word}" for word in words if word))

    def close(self) -> None:
        """Ends all connections."""
        self._loop.run(self._api.close())
        self._loop.close()

    def jobs(self) -> list[TrainingJob]:
        """All of the namespace."""
        return self._all(TRAINING_JOBS, TrainingJob)

    def job(self, name: str) -> TrainingJob:
        """One, as it is now."""
        return self._decoded(self._get(TRAINING_JOBS, name, "job"), TrainingJob)

    def care(self, job: TrainingJob) -> Care:
        """The operator's; whether one lives is not for every user to see."""
        unseen = "it was submitted, and no operator has looked at it yet: is one running?"
        return Care(alive=True, makes=self.makes, unseen=unseen)

    def pause(self, name: str, seconds: float) -> None:
        """Until the job changes."""
        self._loop.run(self._changed(name, max(0.0, seconds)))

    def logs(self, name: str, worker: int | None, follow: bool, show: Callable[[str], None]) -> None:
        """From the workers' pods, as long as these are kept."""
        self.job(name)
        logs = WorkerLogs(self._api, self.namespace, name, worker=worker)
        self._run(lambda: self._follow(name, logs, show) if follow else logs.so_far(show))
        if worker is not None and worker not in logs.workers:
            every = self._run(lambda: self._api.list(PODS, self.namespace, labels=f"{names.JOB}={name}"))
            known = ", ".join(sorted({each["metadata"]["labels"].get(names.INDEX, "") for each in every}))
            raise NoSuch(f"job {name!r} has no log of worker {worker}: there are pods of {known or 'none'}")

    def scale(self, name: str, replicas: int) -> int:
        """By the scale subresource, as `kubectl scale` does."""
        job = self.job(name)
        check_replicas(resolve(job), replicas, again="submit")
        body = {"spec": {"replicas": replicas}}
        self._run(lambda: self._api.patch(TRAINING_JOBS, name, self.namespace, body, subresource="scale"))
        return job.spec.workers.replicas

    def stop(self, name: str, timeout: float) -> TrainingJob:
        """Suspends it."""
        deadline = time.monotonic() + timeout
        check_stop(self.job(name))
        body = {"spec": {"runPolicy": {"suspend": True}}}
        self._run(lambda: self._api.patch(TRAINING_JOBS, name, self.namespace, body))
        while not (holds((job := self.job(name)).status, "Suspended") or finished(job)):
            if time.monotonic() >= deadline:
                raise TimedOut(
                    f"job {name} still has workers after {timeout:g} s: see `ringyard status {name}{self.flags}`"
                )
            self.pause(name, deadline - time.monotonic())
        return job

    def delete(self, name: str, timeout: float) -> None:
        """The object goes at once, and the garbage collector ends what it owns."""
        uid = self.job(name).metadata.uid
        self._delete(TRAINING_JOBS, name, uid, timeout, f"{names.JOB}={name}", f"job {name} still has workers")

    def endpoints(self) -> list[ModelEndpoint]:
        """All of the namespace."""
        return self._all(MODEL_ENDPOINTS, ModelEndpoint)

    def endpoint(self, name: str) -> ModelEndpoint:
        """One, as it is now."""
        return self._decoded(self._get(MODEL_ENDPOINTS, name, "endpoint"), ModelEndpoint)

    def served(self, endpoint: ModelEndpoint) -> bool:
        """Whether the operator has looked at it."""
        return endpoint.status is not None

    def ask(self, endpoint: ModelEndpoint, question: Callable[[str], T]) -> T:
        """Through a port of this machine that leads to a ready server's pod."""
        return self._run(lambda: self._asked(endpoint.metadata.name, question))

    def delete_endpoint(self, name: str, timeout: float) -> None:
        """As `delete`."""
        uid = self.endpoint(name).metadata.uid
        labels = f"{names.ENDPOINT}={name}"
        self._delete(MODEL_ENDPOINTS, name, uid, timeout, labels, f"endpoint {name} still has model servers")

    def job_names(self) -> list[str]:
        """From the API server."""
        return self._names(TRAINING_JOBS)

    def endpoint_names(self) -> list[str]:
        """From the API server."""
        return self._names(MODEL_ENDPOINTS)

    def find(self, name: str) -> tuple[TrainingJob, bool] | None:
        """A job of that name, if there is one, and whether it is being deleted."""
        try:
            found = self._run(lambda: self._api.get(TRAINING_JOBS, name, self.namespace))
        except KubeNotFound:
            return None
        return self._decoded(found, TrainingJob), "deletionTimestamp" in found["metadata"]

    def apply(self, body: Json) -> TrainingJob:
        """A manifest, the way `kubectl apply --server-side` does it; what others changed of it is taken back."""
        body = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
        try:
            made = self._run(lambda: self._api.apply(TRAINING_JOBS, body, manager=MANAGER, strict=True))
        except KubeNotFound as error:
            remedy = f"`kubectl create namespace {self.namespace}` makes one"
            raise BadInput(f"{self._access.name} has no namespace {self.namespace!r}: {remedy}") from error
        return self._decoded(made, TrainingJob)

    def _get(self, kind: Kind, name: str, called: str) -> Json:
        checked(name, called)
        try:
            found = self._run(lambda: self._api.get(kind, name, self.namespace))
        except KubeNotFound as error:
            hint = near(name, self._names(kind))
            lists = f"`ringyard {'list' if kind is TRAINING_JOBS else 'endpoints'}{self.flags}` shows all"
            raise NoSuch(f"no {called} {name!r} in {self.place}{hint}: {lists}") from error
        self._version = found["metadata"]["resourceVersion"]
        return found

    def _all(self, kind: Kind, made: type[M]) -> list[M]:
        found = self._run(lambda: self._api.list(kind, self.namespace))
        return readable(partial(self._decoded, each, made) for each in found)

    def _names(self, kind: Kind) -> list[str]:
        return [each["metadata"]["name"] for each in self._run(lambda: self._api.list(kind, self.namespace))]

    def _decoded(self, found: Mapping[str, Any], made: type[M]) -> M:
        """The object without what Kubernetes keeps beside ours."""
        metadata = {key: value for key, value in found["metadata"].items() if key in _METADATA}
        decoded = from_object({**found, "metadata": metadata}, f"{metadata['name']} in {self.place}")
        assert isinstance(decoded, made)
        return decoded

    def _delete(self, kind: Kind, name: str, uid: str, timeout: float, labels: str, left: str) -> None:
        deadline = time.monotonic() + timeout
        self._run(lambda: self._api.delete(kind, name, self.namespace, uid=uid))
        while self._run(lambda: self._has_children(kind, uid, labels)):
            if time.monotonic() >= deadline:
                raise TimedOut(f"{left} after {timeout:g} s: see `kubectl get pods -l {labels} -n {self.namespace}`")
            time.sleep(_LOOK_SECONDS)

    async def _has_children(self, kind: Kind, uid: str, labels: str) -> bool:
        """Whether pods are left of what was deleted; those of a successor of the same name are none of its."""
        pods = await self._api.list(PODS, self.namespace, labels=labels)
        owners = {each.get("uid") for pod in pods for each in pod["metadata"].get("ownerReferences") or ()}
        if kind is MODEL_ENDPOINTS:  # its pods belong to a ReplicaSet
            return bool(pods)
        return uid in owners

    async def _changed(self, name: str, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                try:
                    stream = self._api.watch(
                        TRAINING_JOBS,
                        self.namespace,
                        fields=f"metadata.name={name}",
                        resource_version=self._version,
                    )
                    async with aclosing(stream):
                        async for event, _ in stream:
                            if event != "BOOKMARK":
                                return
                except KubeError:  # reading it says what is wrong, if that lasts
                    await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self, name: str, logs: WorkerLogs, show: Callable[[str], None]) -> None:
        ended = asyncio.Event()

        async def look() -> None:
            while True:
                try:
                    found = await self._api.get(TRAINING_JOBS, name, self.namespace)
                    self._version = found["metadata"]["resourceVersion"]
                    if finished(self._decoded(found, TrainingJob)):
                        return ended.set()
                except KubeNotFound:
                    return ended.set()
                except KubeUnreachable:
                    await asyncio.sleep(_LOOK_SECONDS)
                await self._changed(name, _PATIENCE_SECONDS)

        looking = asyncio.create_task(look())
        try:
            await logs.as_they_come(show, lambda: ended.is_set() or looking.done())
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _asked(self, name: str, question: Callable[[str], T]) -> T:
        pods = await self._api.list(PODS, self.namespace, labels=f"{names.ENDPOINT}={name}")
        ready = [pod["metadata"]["name"] for pod in pods if _ready(pod)]
        if not ready:
            raise Unavailable(
                f"endpoint {name!r} is not being served now: none of its {len(pods)} model servers is ready "
                f"(`kubectl get mep {name} -n {self.namespace}`)"
            )
        async with forward(self._api, self.namespace, ready[0], GRPC_PORT) as port:
            return await asyncio.to_thread(question, f"127.0.0.1:{port}")

    def _run(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return self._loop.run(self._patiently(ask))
        except KubeKindUnknown as error:
            remedy = "whoever looks after the cluster installs it with `make deploy`"
            raise Unavailable(f"Ringyard is not installed in the cluster of {self._access.name}: {remedy}") from error

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        ends = time.monotonic() + (_PATIENCE_SECONDS if self._answered else 0.0)
        while True:
            try:
                answer = await ask()
            except KubeUnreachable as error:
                if time.monotonic() >= ends:
                    raise
                await asyncio.sleep(error.retry_after or _LOOK_SECONDS)
                continue
            self._answered = True
            return answer


def _ready(pod: Json) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
