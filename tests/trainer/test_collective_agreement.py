"""After a change of view all members find the same source of state, and the same members that are behind."""

from __future__ import annotations

from ringyard_trainer.collective.agreement import Agreement, agree, standing


def together(*members: tuple[bool, int]) -> Agreement:
    vectors = [
        standing(rank, len(members), has_state=has_state, step=step) for rank, (has_state, step) in enumerate(members)
    ]
    return agree([sum(column) for column in zip(*vectors, strict=True)])


def test_members_that_are_level_hand_nothing_on() -> None:
    assert together((True, 7), (True, 7)) == Agreement(source=0, step=7, behind=())


def test_a_newcomer_is_behind_even_at_step_zero() -> None:
    assert together((False, 0), (True, 0)) == Agreement(source=1, step=0, behind=(0,))


def test_who_finished_the_step_hands_it_on_to_who_lost_it() -> None:
    assert together((True, 7), (True, 8), (True, 7), (True, 8)) == Agreement(source=1, step=8, behind=(0, 2))


def test_what_a_member_without_state_says_of_its_step_does_not_count() -> None:
    assert together((False, 99), (True, 3)) == Agreement(source=1, step=3, behind=(0,))


def test_a_gang_of_newcomers_has_no_source() -> None:
    assert together((False, 0), (False, 0)) == Agreement(source=None, step=0, behind=(0, 1))
