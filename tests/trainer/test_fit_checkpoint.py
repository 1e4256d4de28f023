"""Checkpoints are whole or not there, and a corrupt one is passed over with a word."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from ringyard_trainer import checkpoint


def test_the_newest_is_read_back_and_only_so_many_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        checkpoint.write(tmp_path, checkpoint.name_of(step), step, b"state %d" % step, keep=2)
    found = checkpoint.newest(tmp_path)
    assert found is not None and (found.step, found.state, found.complaints) == (40, b"state 40", ())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-0000000{step}.{suffix}" for step in (30, 40) for suffix in ("json", "safetensors")
    ]


def test_final_is_the_newest_of_all_and_counts_for_nothing_in_what_is_kept(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, checkpoint.name_of(10), 10, b"10", keep=1)
    checkpoint.write(tmp_path, checkpoint.FINAL, 11, b"final", keep=1)
    found = checkpoint.newest(tmp_path)
    assert found is not None and (found.name, found.step) == ("final", 11)
    assert (tmp_path / "step-000000010.json").exists()


@pytest.mark.parametrize("damage", [b"stat", b"", b"Xtate 20"])
def test_a_corrupt_checkpoint_is_named_and_the_one_before_is_taken(tmp_path: Path, damage: bytes) -> None:
    for step in (10, 20):
        checkpoint.write(tmp_path, checkpoint.name_of(step), step, b"state %d" % step, keep=3)
    (tmp_path / "step-000000020.safetensors").write_bytes(damage)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 10
    assert found.complaints == ("checkpoint step-000000020 is corrupt (its SHA-256 is not the one written down)",)


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") is None


def test_a_full_disk_leaves_the_older_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, checkpoint.name_of(10), 10, b"small", keep=3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write(tmp_path, checkpoint.name_of(20), 20, bytes(100_000), keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 10 and not found.complaints
    assert len(list(tmp_path.iterdir())) == 2


def test_a_corrupt_newer_one_never_costs_the_sound_one_just_written(tmp_path: Path) -> None:
    for step in (10, 50):
        checkpoint.write(tmp_path, checkpoint.name_of(step), step, b"state %d" % step, keep=2)
    (tmp_path / "step-000000050.safetensors").write_bytes(b"damaged")
    checkpoint.write(tmp_path, checkpoint.name_of(20), 20, b"state 20", keep=1)
    found = checkpoint.newest(tmp_path)
    assert found is not None and (found.step, found.state) == (20, b"state 20")
    assert not (tmp_path / "step-000000010.json").exists()


def test_what_a_killed_writer_left_is_swept_away_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".step-000000010.safetensors.4711").write_bytes(b"half")
    (tmp_path / "step-000000010.safetensors").write_bytes(b"whole, but never named")
    checkpoint.write(tmp_path, checkpoint.name_of(20), 20, b"state 20", keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000020.json", "step-000000020.safetensors"]
