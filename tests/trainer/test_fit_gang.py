"""The loop in a gang: the same model with any number of members, and with members that die, come and go."""

from __future__ import annotations

import json
import random
import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gang_in_threads import MANIFEST, Gangs, Member, train
from ringyard_trainer import checkpoint
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.outcomes import Fenced, Finished, Terminated
from ringyard_trainer.collective.view import View
from ringyard_trainer.errors import StorageFailed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Member:
    """The run that the others are held against: one member alone."""
    (member,) = train(1, tmp_path_factory.mktemp("alone"))
    return member


def assert_same_model(member: Member, undisturbed: Member) -> None:
    np.testing.assert_allclose(member.parameters, undisturbed.parameters, rtol=1e-8, atol=1e-12)
    mine, its = member.fit.state.curve.points, undisturbed.fit.state.curve.points
    assert [step for step, _ in mine] == [step for step, _ in its], "a step was lost or done twice"
    np.testing.assert_allclose([loss for _, loss in mine], [loss for _, loss in its], rtol=1e-8)


def test_three_members_train_the_model_that_one_trains(undisturbed: Member, tmp_path: Path) -> None:
    members = train(3, tmp_path)
    for member in members:
        assert isinstance(member.ended, Finished)
        assert_same_model(member, undisturbed)
    assert len({member.parameters.tobytes() for member in members}) == 1, "members differ in their last bits"


def test_the_same_seed_and_size_give_the_same_bits(tmp_path: Path) -> None:
    once, again = train(2, tmp_path / "once"), train(2, tmp_path / "again")
    assert once[0].parameters.tobytes() == again[0].parameters.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_a_member_killed_at_a_random_moment_costs_no_step(undisturbed: Member, tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    gangs, victim, at = Gangs(3), generator.randrange(3), generator.randrange(2, 36)
    reductions = [0, 0, 0]

    def count(number: int) -> None:
        reductions[number] += 1
        if number == victim and reductions[number] == at:
            gangs.members[number].kill()

    for number in range(3):
        gangs.start(MANIFEST, tmp_path, lambda _, number=number: count(number))
    gangs.join()
    assert isinstance(gangs.members[victim].ended, Fenced)
    for survivor in (member for number, member in enumerate(gangs.members) if number != victim):
        assert isinstance(survivor.ended, Finished)
        assert_same_model(survivor, undisturbed)


def test_members_that_come_and_go_leave_the_model_as_it_is(undisturbed: Member, tmp_path: Path) -> None:
    gangs, done = Gangs(2), []

    def scale(gang: Gang) -> None:
        step = gangs.members[0].fit.state.step
        if step == 5 and not done:
            done.extend(gangs.start(MANIFEST, tmp_path) for _ in range(2))
        if step == 15 and len(done) == 2:
            done.append(gangs.members[1])
            gangs.members[1].gang.leave("scaled down")

    gangs.start(MANIFEST, tmp_path, scale)
    gangs.start(MANIFEST, tmp_path)
    gangs.join()
    assert [type(member.ended) for member in gangs.members] == [Finished, Terminated, Finished, Finished]
    for member in (gangs.members[0], *gangs.members[2:]):
        assert_same_model(member, undisturbed)


def test_a_gang_that_was_stopped_goes_on_from_its_checkpoint(undisturbed: Member, tmp_path: Path) -> None:
    first = Gangs(2)

    def stop(gang: Gang) -> None:
        if first.members[0].fit.state.step == 11:
            for member in first.members:
                member.gang.leave("suspended")

    first.start(MANIFEST, tmp_path, stop)
    first.start(MANIFEST, tmp_path)
    first.join()
    assert [type(member.ended) for member in first.members] == [Terminated, Terminated]
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None and 11 <= found.step < 30
    for member in train(3, tmp_path):
        assert isinstance(member.ended, Finished)
        assert_same_model(member, undisturbed)


def test_the_result_is_written_last_and_the_report_tells_the_history(undisturbed: Member) -> None:
    run_dir = undisturbed.fit.run_dir
    result = json.loads((run_dir / "result.json").read_text())
    assert (result["step"], result["epochs"], result["stoppedEarly"], result["gate"]) == (30, 4, False, None)
    assert result["metrics"]["accuracy"] > 0.8
    report = json.loads((run_dir / "report" / "report.json").read_text())
    assert report["part"] == "test" and len(report["curve"]) == 30
    assert [entry["epoch"] for entry in report["history"]] == [1.0, 2.0, 3.0, 4.0]
    assert "| val_accuracy |" in (run_dir / "report" / "report.md").read_text()
    newest = (run_dir / "result.json").stat().st_mtime_ns
    assert all(path.stat().st_mtime_ns <= newest for path in run_dir.rglob("*") if path.is_file())


def test_a_leader_that_dies_before_the_result_is_followed_by_the_next(undisturbed: Member, tmp_path: Path) -> None:
    gangs = Gangs(2)

    def die(gang: Gang) -> None:
        if gangs.members[0].fit.state.step == 29:
            gangs.members[0].kill()

    gangs.start(MANIFEST, tmp_path, die)
    gangs.start(MANIFEST, tmp_path)
    gangs.join()
    assert isinstance(gangs.members[1].ended, Finished)
    assert (tmp_path / "result.json").exists()


def test_a_member_that_comes_after_the_end_only_hands_the_result_in_again(tmp_path: Path) -> None:
    train(1, tmp_path)
    before = (tmp_path / "result.json").stat().st_mtime_ns
    (late,) = train(1, tmp_path)
    assert isinstance(late.ended, Finished)
    assert (tmp_path / "result.json").stat().st_mtime_ns == before


def test_a_leader_that_was_frozen_in_its_export_leaves_the_next_leaders_model_alone(tmp_path: Path) -> None:
    train(1, tmp_path / "next")
    gangs = Gangs(1)
    member = Member(gangs, MANIFEST, tmp_path / "run")
    told = member.gang.report

    def frozen(**changes: Any) -> None:
        told(**changes)
        if changes.get("phase") == "EXPORTING":  # what happens while it is frozen
            shutil.copytree(tmp_path / "next", tmp_path / "run", dirs_exist_ok=True)

    member.gang.report = frozen  # type: ignore[method-assign]
    member.run()
    assert isinstance(member.ended, Finished)
    for name in ("result.json", "model/model.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "next" / name).read_bytes()


def test_a_result_that_only_some_saw_in_time_ends_the_run_for_all(tmp_path: Path) -> None:
    """Rank 0 leads, looked before the result stood, and waits for rank 1, which sees it."""
    train(1, tmp_path / "before")
    gangs, stands = Gangs(2), threading.Event()

    def write(gang: Gang) -> None:
        shutil.copytree(tmp_path / "before", tmp_path / "run", dirs_exist_ok=True)
        stands.set()

    gangs.start(MANIFEST, tmp_path / "run", write)
    late = Member(gangs, MANIFEST, tmp_path / "run")
    enter = late.gang.next_view

    def enter_late() -> View:
        view = enter()
        assert stands.wait(30)
        return view

    late.gang.next_view = enter_late  # type: ignore[method-assign]
    gangs.members.append(late)
    late.start()
    gangs.join()
    assert all(isinstance(member.ended, Finished) for member in gangs.members)


def test_a_full_disk_stops_no_training_but_the_final_state_must_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, before[1]))
    try:
        (member,) = train(1, tmp_path, MANIFEST + "  checkpoint: {everySteps: 10}\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().out
    assert member.fit.state.step == 30
    for step in (10, 20, 30):
        assert f"checkpoint step-0000000{step} could not be written (File too large): older ones stand" in said
    assert isinstance(member.ended, StorageFailed) and member.ended.exit_code == 2
    assert str(member.ended).startswith("spec.storage.uri: the result cannot be written to ")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_corrupt_checkpoint_is_passed_over_and_said(undisturbed: Member, tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoint.write(tmp_path / "checkpoints", checkpoint.name_of(step), step, b"not yet", 3)
    (tmp_path / "checkpoints" / "step-000000020.safetensors").write_bytes(b"damaged")
    (tmp_path / "checkpoints" / "step-000000010.safetensors").write_bytes(b"damaged too")
    gangs = Gangs(1)
    member = gangs.start(MANIFEST, tmp_path)
    gangs.join()
    assert isinstance(member.ended, Finished)
    assert_same_model(member, undisturbed)
    note = member.desk.standing().note
    assert "checkpoint step-000000020 is corrupt" in note and "training begins anew" in note
