"""The state of local mode on disk: one folder a job, one folder an endpoint (ARCHITECTURE.md, Local mode's state).

Called by the rooms of `local` and by `cli`. Wanted state and counters are true here; what runs is true in /proc. It
knows paths, whole files, locks and generations; it starts nothing and decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ringyard_api.jobstatus import JobStatus
from ringyard_api.loading import from_object, to_object
from ringyard_api.modelendpoint import ModelEndpoint, ModelEndpointStatus
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import AlreadyRunning, Conflict, NotFound, StateUnusable
from ringyard_operator.local import disk
from ringyard_operator.local.lock import Held, Lock, holder

_SPEC_WAIT_SECONDS = 10.0


class StateDir:
    """`--state-dir`: `jobs/NAME/` and `endpoints/NAME/`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))

    @classmethod
    def default(cls) -> StateDir:
        """`$XDG_STATE_HOME/ringyard`, else `~/.local/state/ringyard` (XDG Base Directory Specification 0.8)."""
        home = os.environ.get("XDG_STATE_HOME", "")
        return cls(Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/state")) / "ringyard")

    def jobs(self) -> list[str]:
        """Names of the jobs that exist, sorted."""
        return _named(self.root / "jobs")

    def job(self, name: str) -> JobFolder:
        """The folder of a job, which may not exist yet."""
        return JobFolder(self.root / "jobs" / name)

    def endpoints(self) -> list[str]:
        """Names of the endpoints that exist, sorted."""
        return _named(self.root / "endpoints")

    def endpoint(self, name: str) -> EndpointFolder:
        """The folder of an endpoint, which may not exist yet."""
        return EndpointFolder(self.root / "endpoints" / name)


class _Folder:
    """What both kinds share: spec.json with a generation, status.json, lock."""

    kind = ""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.spec_file, self.status_file = path / "spec.json", path / "status.json"
        self.token_file = path / "token"
        self._spec_lock_file, self._lock_file = path / "spec.lock", path / "lock"

    def exists(self) -> bool:
        """Whether there is a spec."""
        return self.spec_file.is_file()

    def holder(self) -> int | None:
        """Pid of the live supervisor (0 while it has not said so), or None."""
        return holder(self._lock_file)

    def lock(self) -> Lock:
        """Becomes the supervisor. Raises AlreadyRunning with the pid of the one that lives."""
        try:
            return Lock(self._lock_file)
        except Held as held:
            raise AlreadyRunning(
                f"{self.kind} {self.name!r} already has a live supervisor, process {held.pid}: "
                f"follow it with `ringyard {'status' if self.kind == 'job' else 'endpoints'}`, or stop it first",
                pid=held.pid,
            ) from None

    @contextlib.contextmanager
    def editing(self) -> Iterator[None]:
        """Excludes other writers of the spec for the length of one read-decide-write."""
        try:
            with Lock(self._spec_lock_file, wait_seconds=_SPEC_WAIT_SECONDS):
                yield
        except Held as held:
            raise Conflict(f"process {held.pid} is writing {self.spec_file}: try again") from None

    def token(self) -> str:
        """The secret that every call between our processes carries; made at the first call, readable by the user
        alone.
        """
        with contextlib.suppress(FileNotFoundError), disk_read(self.token_file):
            if text := self.token_file.read_text().strip():
                return text
        token = secrets.token_urlsafe(32)
        disk.replace(self.token_file, token + "\n", mode=0o600)
        return token

    def _object(self) -> dict[str, Any]:
        spec = disk.read_json(self.spec_file)
        if spec is None:
            raise NotFound(f"there is no {self.kind} named {self.name!r} in {self.path.parent}")
        status = disk.read_json(self.status_file)
        return {**spec, "status": status} if status is not None else spec

    def _write_spec(self, wanted: TrainingJob | ModelEndpoint, expected_generation: int) -> None:
        """The caller holds `editing` where it read before."""
        present = disk.read_json(self.spec_file)
        found = int((present or {}).get("metadata", {}).get("generation", 0))
        if found != expected_generation:
            raise Conflict(
                f"{self.kind} {self.name!r} was changed meanwhile "
                f"(generation {found}, not {expected_generation}): try again"
            )
        data = to_object(wanted)
        data.pop("status", None)
        disk.replace_json(self.spec_file, data)


class JobFolder(_Folder):
    """`STATE/jobs/NAME/`."""

    kind = "job"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.coordinator_file = path / "coordinator"
        self.workers, self.storage = path / "workers", path / "storage"
        self.supervisor_log, self.metrics_file = path / "supervisor.log", path / "metrics"
        self.targets_file = path / "targets.json"

    def read(self) -> TrainingJob:
        """The job with its status. Raises NotFound, StateUnusable, or ManifestError for a spec that somebody edited."""
        job = from_object(self._object(), str(self.spec_file))
        if not isinstance(job, TrainingJob):
            raise StateUnusable(f"{self.spec_file} does not hold a TrainingJob: delete the job")
        return job

    def write_spec(self, job: TrainingJob, *, expected_generation: int) -> None:
        """Replaces the spec if its generation is still the expected one (0: there is none). Raises Conflict."""
        self._write_spec(job, expected_generation)

    def write_status(self, status: JobStatus) -> None:
        """Replaces the status. Only the holder of the lock does."""
        disk.replace_json(self.status_file, to_object(status))

    def run_dir(self, job: TrainingJob) -> Path:
        """`<storage.uri>/<job>-<uid8>`: runs never share a folder, a job made anew begins anew (TRAININGJOB.md §A
        job's end).
        """
        uri = job.spec.storage.uri if job.spec.storage is not None else None
        base = Path(unquote(uri.removeprefix("file://")) if uri and uri.startswith("file://") else uri or self.storage)
        return base / f"{self.name}-{(job.metadata.uid or '')[:8]}"

    def worker(self, index: int) -> Path:
        """Folder of one worker index."""
        return self.workers / str(index)

    def worker_logs(self) -> dict[int, Path]:
        """The logs that exist, by worker index."""
        found = (path for path in self.workers.glob("*/log") if re.fullmatch(r"\d+", path.parent.name))
        return {int(path.parent.name): path for path in sorted(found, key=lambda path: int(path.parent.name))}

    def remove(self, *, keep_storage: bool = False) -> None:
        """Removes the folder. The caller holds the lock and nothing runs. `keep_storage` leaves what an endpoint
        serves.
        """
        _remove(self.path, keep="storage" if keep_storage else None)


class EndpointFolder(_Folder):
    """`STATE/endpoints/NAME/`."""

    kind = "endpoint"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.server_file, self.address_file = path / "server.json", path / "address.json"
        self.wanted_file, self.server_log = path / "wanted.json", path / "server.log"
        self.targets_file = path / "targets.json"

    def read(self) -> ModelEndpoint:
        """The endpoint with its status. Raises as `JobFolder.read`."""
        endpoint = from_object(self._object(), str(self.spec_file))
        if not isinstance(endpoint, ModelEndpoint):
            raise StateUnusable(f"{self.spec_file} does not hold a ModelEndpoint: delete the endpoint")
        return endpoint

    def write_spec(self, endpoint: ModelEndpoint, *, expected_generation: int) -> None:
        """As `JobFolder.write_spec`."""
        self._write_spec(endpoint, expected_generation)

    def write_status(self, status: ModelEndpointStatus) -> None:
        """Replaces the status. Only the holder of the lock does."""
        disk.replace_json(self.status_file, to_object(status))

    def remove(self) -> None:
        """Removes the folder. The caller holds the lock and nothing serves."""
        _remove(self.path, keep=None)


@contextlib.contextmanager
def disk_read(path: Path) -> Iterator[None]:
    """A missing file stays FileNotFoundError, any other refusal is StateUnusable."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateUnusable(f"cannot read {path}: {error.strerror}; choose another with --state-dir") from error


def _named(folder: Path) -> list[str]:
    with disk.refusals("read", folder):
        try:
            return sorted(path.name for path in folder.iterdir() if (path / "spec.json").is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []


def _remove(path: Path, keep: str | None) -> None:
    """The spec first: from then on there is no such thing, however this ends. The lock last: somebody may wait for it.
    What is gone already was removed by another who does the same.
    """
    with disk.refusals("write", path), contextlib.suppress(FileNotFoundError):
        (path / "spec.json").unlink(missing_ok=True)
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name == "lock"):
            if entry.name == keep:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)  # its server may still be taking its copies away
                if entry.exists():
                    shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        if not any(path.iterdir()):
            path.rmdir()
