"""Deletion of jobs and endpoints: first nothing runs, then the folder goes. Called by `cli`.

With a live supervisor it asks and waits; without one it does the work itself under the lock. A model that an
endpoint names is never deleted with its job (SERVING.md §Versions and owners).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from ringyard_operator.errors import NotChangeable, NotFound, RingyardError
from ringyard_operator.local import disk
from ringyard_operator.local.folders import EndpointFolder, JobFolder, StateDir
from ringyard_operator.local.processes import Workers
from ringyard_operator.local.server import Server
from ringyard_operator.local.submit import suspend

_GRACE_SECONDS = 30.0
_POLL_SECONDS = 0.05


def delete_job(state: StateDir, name: str, *, timeout: float = 60.0) -> None:
    """Stops the job's workers and removes it. An endpoint that it published into goes on serving.

    Raises NotFound, StateUnusable, AlreadyRunning (its supervisor did not leave within `timeout` seconds).
    """
    folder = state.job(name)
    if not folder.exists():
        raise NotFound(f"there is no job named {name!r} in {state.root}: see `ringyard list`")
    if folder.holder() is not None:
        with contextlib.suppress(NotChangeable):  # it has just ended by itself
            suspend(state, name)
        _wait(lambda: folder.holder() is None, timeout)
    with folder.lock():
        stop_workers(folder)
        folder.remove(keep_storage=_served_from(state, folder.path))


def delete_endpoint(state: StateDir, name: str, *, timeout: float = 60.0) -> None:
    """Stops the endpoint's server and removes it; its jobs stay. Raises as `delete_job`."""
    folder = state.endpoint(name)
    if not folder.exists():
        raise NotFound(f"there is no endpoint named {name!r} in {state.root}: see `ringyard endpoints`")
    if folder.holder() is not None:
        with folder.editing(), disk.refusals("write", folder.path):
            folder.spec_file.unlink(missing_ok=True)  # its holder sees it, ends the server and leaves
        _wait(lambda: folder.holder() is None, timeout)
    if folder.path.exists():
        with folder.lock():
            stop_server(folder)
            folder.remove()
    _remove_unserved(state)


def stop_workers(folder: JobFolder) -> None:
    """Ends every worker of a job that has no supervisor, with a checkpoint where its grace allows."""
    workers = Workers(folder)
    for agent in workers.seen():
        workers.stop(agent.record.uid, _GRACE_SECONDS)

    def gone() -> bool:
        workers.kill_overdue()
        return not any(agent.alive for agent in workers.seen())

    _wait(gone, _GRACE_SECONDS + 5.0)


def stop_server(folder: EndpointFolder) -> None:
    """Ends a model server that has no supervisor: SIGTERM, the drain, then SIGKILL."""
    server = Server(folder)
    server.terminate()
    if not _wait(lambda: not server.alive(), _GRACE_SECONDS):
        server.kill()


def _remove_unserved(state: StateDir) -> None:
    """What deleted jobs have left because an endpoint served it, and now none does."""
    with contextlib.suppress(OSError, RingyardError):
        for path in sorted((state.root / "jobs").iterdir()):
            folder = state.job(path.name)
            if folder.storage.is_dir() and not folder.exists() and not _served_from(state, path):
                with folder.editing(), folder.lock():  # nobody may make the job anew meanwhile
                    if not folder.exists():
                        folder.remove()


def _served_from(state: StateDir, job_folder: Path) -> bool:
    inside = f"{job_folder}/"
    for name in state.endpoints():
        with contextlib.suppress(RingyardError):
            spec = (disk.read_json(state.endpoint(name).spec_file) or {}).get("spec", {})
            uris = [unquote(str(version.get("uri", ""))) for version in spec.get("versions", ())]
            if any(uri.removeprefix("file://").startswith(inside) for uri in uris):
                return True
    return False


def _wait(done: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
