"""The ring's schedule, played on paper: every segment is summed once by every rank, in the order that is promised."""

from __future__ import annotations

from itertools import pairwise

import pytest
from ringyard_trainer.collective.schedule import CHUNK, STAR, chunks, form, ring_turns, segments

SIZES = range(2, 9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 1000003])
def test_segments_cover_the_array_once_and_differ_by_one_element_at_most(size: int, length: int) -> None:
    spans = segments(length, size)
    assert len(spans) == size
    assert [index for start, stop in spans for index in (start, stop)][1:-1] == [
        stop for _, stop in spans[:-1] for _ in (0, 1)
    ]
    assert (spans[0][0], spans[-1][1]) == (0, length)
    widths = {stop - start for start, stop in spans}
    assert max(widths) - min(widths) <= 1


@pytest.mark.parametrize("item", [1, 4, 8])
def test_chunks_cover_a_span_and_stay_below_the_limit(item: int) -> None:
    pieces = chunks((5, 5 + 3 * CHUNK // item + 1), item)
    assert pieces[0][0] == 5
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    assert all((stop - start) * item <= CHUNK for start, stop in pieces)
    assert chunks((3, 3), item) == [(3, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_a_ring_sums_each_segment_from_its_own_rank_on_and_all_get_it(size: int) -> None:
    holds = [[(rank,) for _ in range(size)] for rank in range(size)]  # holds[rank][segment]: whose values, in order
    wire = {(rank + 1) % size: (rank, (rank,)) for rank in range(size)}  # receiver: (segment, content)
    turns = [ring_turns(rank, size) for rank in range(size)]
    for phase in range(2 * (size - 1)):
        sent: dict[int, tuple[int, tuple[int, ...]]] = {}
        for rank in range(size):
            turn = turns[rank][phase]
            segment, content = wire[rank]
            assert segment == turn.segment
            holds[rank][segment] = content + holds[rank][segment] if turn.reduce else content
            if turn.forward:
                sent[(rank + 1) % size] = (segment, holds[rank][segment])
        wire = sent
    assert not wire
    for rank in range(size):
        for segment in range(size):
            assert holds[rank][segment] == tuple((segment + step) % size for step in range(size))


def test_the_form_depends_on_members_and_bytes_only() -> None:
    assert form(1, 10) == "alone"
    assert form(2, 10) == form(2, 10 * STAR) == "exchange"
    assert form(3, STAR // 2) == form(5, STAR // 4) == "star"
    assert form(3, STAR // 2 + 1) == form(5, STAR // 4 + 1) == "ring"
