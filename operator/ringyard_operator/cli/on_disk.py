"""Jobs and endpoints of this machine, in a state folder: what every command works on where no cluster is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ringyard_api.modelendpoint import ModelEndpoint
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.changes import finished
from ringyard_operator.cli.exits import NoSuch, TimedOut, Unavailable
from ringyard_operator.cli.reading import readable
from ringyard_operator.cli.sources import Care, checked, near
from ringyard_operator.cli.tail import Tail
from ringyard_operator.local.folders import EndpointFolder, JobFolder, StateDir

_POLL_SECONDS = 0.1

T = TypeVar("T")


class OnDisk:
    """A `Source`."""

    makes = "ringyard run"
    flags = ""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self.place = str(state.root)

    def jobs(self) -> list[TrainingJob]:
        """All of the state folder."""
        return readable(self._state.job(name).read for name in self._state.jobs())

    def job(self, name: str) -> TrainingJob:
        """From its folder."""
        return self._job(name).read()

    def care(self, job: TrainingJob) -> Care:
        """A live supervisor, or nobody."""
        pid = self._state.job(job.metadata.name).holder()
        return Care(alive=pid is not None, pid=pid)

    def pause(self, name: str, seconds: float) -> None:
        """A moment: files tell nobody that they changed."""
        time.sleep(max(0.0, min(seconds, _POLL_SECONDS)))

    def logs(self, name: str, worker: int | None, follow: bool, show: Callable[[str], None]) -> None:
        """From the files that the workers write."""
        tails: dict[int, Tail] = {}
        while True:
            folder = self._job(name)
            over = not follow or finished(folder.read()) or folder.holder() is None
            if over and follow:
                time.sleep(2 * _POLL_SECONDS)  # the last words of a worker come after the job's end
            _show_new(tails, folder.worker_logs(), worker, over, show)
            if over:
                break
            time.sleep(2 * _POLL_SECONDS)
        if worker is not None and worker not in tails:
            known = ", ".join(str(index) for index in sorted(folder.worker_logs())) or "none yet"
            raise NoSuch(f"job {name!r} has no log of worker {worker}: there are logs of {known}")

    def scale(self, name: str, replicas: int) -> int:
        """In the spec; the supervisor follows it."""
        from ringyard_operator.local.submit import set_replicas

        before = self._job(name).read().spec.workers.replicas
        set_replicas(self._state, name, replicas)
        return before

    def stop(self, name: str, timeout: float) -> TrainingJob:
        """In the spec; its supervisor ends when the workers are gone, and `run` may follow at once."""
        from ringyard_operator.local.remove import stop_workers
        from ringyard_operator.local.submit import suspend

        folder = self._job(name)
        suspend(self._state, name)
        deadline = time.monotonic() + timeout
        while folder.holder() is not None:
            if time.monotonic() >= deadline:
                raise TimedOut(f"job {name} still has workers after {timeout:g} s: see `ringyard status {name}`")
            time.sleep(_POLL_SECONDS)
        with folder.lock():  # what runs without a supervisor is ended here
            stop_workers(folder)
        return folder.read()

    def delete(self, name: str, timeout: float) -> None:
        """With its logs and checkpoints."""
        from ringyard_operator.errors import AlreadyRunning
        from ringyard_operator.local.remove import delete_job

        self._job(name)
        try:
            delete_job(self._state, name, timeout=timeout)
        except AlreadyRunning as error:
            sentence = f"job {name} still has workers after {timeout:g} s (process {error.pid} looks after it)"
            raise TimedOut(f"{sentence}: see `ringyard status {name}`") from error

    def endpoints(self) -> list[ModelEndpoint]:
        """All of the state folder."""
        return readable(self._state.endpoint(name).read for name in self._state.endpoints())

    def endpoint(self, name: str) -> ModelEndpoint:
        """From its folder."""
        return self._endpoint(name).read()

    def served(self, endpoint: ModelEndpoint) -> bool:
        """Whether a supervisor holds it."""
        return self._state.endpoint(endpoint.metadata.name).holder() is not None

    def ask(self, endpoint: ModelEndpoint, question: Callable[[str], T]) -> T:
        """An endpoint whose supervisor has gone serves no more, whatever its status says."""
        url = endpoint.status.url if endpoint.status else ""
        if not url or not self.served(endpoint):
            name = endpoint.metadata.name
            raise Unavailable(
                f"endpoint {name!r} is not being served now: `ringyard run` of a job that publishes into it serves it"
            )
        return question(url.split("://")[-1])

    def delete_endpoint(self, name: str, timeout: float) -> None:
        """Its holder ends the server."""
        from ringyard_operator.errors import AlreadyRunning
        from ringyard_operator.local.remove import delete_endpoint

        self._endpoint(name)
        try:
            delete_endpoint(self._state, name, timeout=timeout)
        except AlreadyRunning as error:
            raise TimedOut(f"endpoint {name} is still served by process {error.pid} after {timeout:g} s") from error

    def job_names(self) -> list[str]:
        """Folders."""
        return self._state.jobs()

    def endpoint_names(self) -> list[str]:
        """Folders."""
        return self._state.endpoints()

    def _job(self, name: str) -> JobFolder:
        if not self._state.job(checked(name, "job")).exists():
            raise NoSuch(f"no job {name!r} in {self.place}{near(name, self._state.jobs())}: `ringyard list` shows all")
        return self._state.job(name)

    def _endpoint(self, name: str) -> EndpointFolder:
        if not self._state.endpoint(checked(name, "endpoint")).exists():
            hint = near(name, self._state.endpoints())
            raise NoSuch(f"no endpoint {name!r} in {self.place}{hint}: `ringyard endpoints` shows all")
        return self._state.endpoint(name)


def _show_new(
    tails: dict[int, Tail], found: dict[int, Path], worker: int | None, over: bool, show: Callable[[str], None]
) -> None:
    for index in sorted(found):
        if worker in (None, index):
            tails.setdefault(index, Tail(index, found[index]))
    for tail in tails.values():
        for line in tail.lines():
            show(line)
        for line in tail.rest() if over else ():
            show(line)
