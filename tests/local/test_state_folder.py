"""The rooms below local mode: locks, whole files, and processes that are known by more than their pid."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from ringyard_operator.errors import StateUnusable
from ringyard_operator.local import disk, procfs
from ringyard_operator.local.lock import Held, Lock, holder


def test_a_lock_has_one_holder_and_tells_its_pid(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    with Lock(path):
        assert holder(path) == os.getpid()
        with pytest.raises(Held) as refused:
            Lock(path, wait_seconds=0.0)
        assert refused.value.pid == os.getpid()
    assert holder(path) is None


def test_a_killed_holder_gives_its_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "from pathlib import Path\nfrom ringyard_operator.local.lock import Lock\nimport time\n"
        f"kept = Lock(Path({str(path)!r}))\ntime.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 20
        while holder(path) != child.pid:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    with Lock(path):
        assert holder(path) == os.getpid()


def test_a_disk_that_refuses_leaves_the_old_file_whole_and_no_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    disk.replace(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(StateUnusable, match="cannot write the state folder"):
            disk.replace(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_another_process_with_the_same_pid_is_never_signalled() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        known = procfs.identify(child.pid)
        assert known is not None and known.alive()
        stranger = replace(known, start_ticks=known.start_ticks + 1)
        assert not stranger.alive()
        assert not stranger.signal(signal.SIGKILL)
        assert not replace(known, boot="another-boot").signal(signal.SIGKILL)
        assert child.poll() is None
        assert known.signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not known.alive()
    finally:
        child.kill()
        child.wait()


def test_only_marked_processes_of_a_session_are_killed() -> None:
    script = "sleep 600 & exec env -u MARK sleep 600"
    mark = uuid.uuid4().hex
    environment = {**os.environ, "MARK": mark}
    leader = subprocess.Popen(["sh", "-c", script], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while len(marked := procfs.find("MARK", mark)) != 1 or marked == [leader.pid]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert procfs.kill_session(leader.pid, "MARK", mark) == 1
        assert leader.poll() is None
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
