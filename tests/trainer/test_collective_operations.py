"""What the gang computes, over both transports: sums exact to the order stated, the same bits on every rank."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.grpc_transport import GrpcTransport
from ringyard_trainer.collective.memory import MemoryNetwork
from ringyard_trainer.collective.outcomes import Finished, Mismatch, Outcome
from ringyard_trainer.collective.roster import Roster
from ringyard_trainer.collective.schedule import CHUNK, SMALL, form, segments
from ringyard_trainer.collective.view import View

Member = Callable[[Gang, View], Any]


def together(size: int, transport: str, member: Member) -> list[Any]:
    """Runs `member` on every rank of one view, in threads; the answers by rank."""
    network, roster = MemoryNetwork(), Roster(size)
    answers: list[Any] = [None] * size
    errors: list[Exception] = []
    done = threading.Barrier(size)

    def live() -> None:
        gang = Gang(transport=network.member() if transport == "memory" else GrpcTransport(), desk=roster.desk())
        try:
            gang.attend()
            view = gang.next_view()
            answers[view.rank] = member(gang, view)
            done.wait()
            if view.rank == 0:
                gang.send_result(b"{}")
            with pytest.raises(Finished):
                gang.next_view()
        except (Outcome, AssertionError, TypeError) as error:
            errors.append(error)
            done.abort()
        except threading.BrokenBarrierError:
            return
        finally:
            gang.close()

    threads = [threading.Thread(target=live, daemon=True) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a member hangs"
    if errors:
        raise next((error for error in errors if isinstance(error, Mismatch)), errors[0])
    return answers


both = pytest.mark.parametrize("transport", ["memory", "grpc"])
sizes = pytest.mark.parametrize("size", [1, 2, 3, 4])
LENGTHS = [0, 1, 2, 3, 7, SMALL // 8, SMALL // 8 + 1, 100_003, 3 * CHUNK // 8 + 5]


@both
@sizes
def test_integers_are_summed_exactly_at_any_length(size: int, transport: str) -> None:
    inputs = {
        (rank, n): np.random.default_rng([rank, n]).integers(-(2**60), 2**60, n)
        for rank in range(size)
        for n in LENGTHS
    }

    def member(gang: Gang, view: View) -> list[np.ndarray]:
        arrays = [inputs[view.rank, n].copy() for n in LENGTHS]
        for array in arrays:
            gang.allreduce(array)
        return arrays

    for arrays in together(size, transport, member):
        for n, array in zip(LENGTHS, arrays, strict=True):
            np.testing.assert_array_equal(array, sum(inputs[rank, n] for rank in range(size)))


def in_stated_order(inputs: list[np.ndarray]) -> np.ndarray:
    """The sum as schedule.py promises it."""
    size, out = len(inputs), np.empty_like(inputs[0])
    if form(size, out.nbytes) != "ring":
        total = inputs[0].copy()
        for other in inputs[1:]:
            total += other
        return total
    for segment, (start, stop) in enumerate(segments(len(out), size)):
        total = inputs[segment][start:stop].copy()
        for step in range(1, size):
            total += inputs[(segment + step) % size][start:stop]
        out[start:stop] = total
    return out


@both
@sizes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_summed_in_the_stated_order_and_all_ranks_end_bit_identical(
    size: int, transport: str, dtype: type
) -> None:
    lengths = [5, 1000, 70_001, 600_000]
    inputs = [[np.random.default_rng([r, n]).standard_normal(n).astype(dtype) for n in lengths] for r in range(size)]

    def member(gang: Gang, view: View) -> list[np.ndarray]:
        arrays = [array.copy() for array in inputs[view.rank]]
        for array in arrays:
            gang.allreduce(array)
        return arrays

    for arrays in together(size, transport, member):
        for index, array in enumerate(arrays):
            expected = in_stated_order([mine[index] for mine in inputs])
            assert array.tobytes() == expected.tobytes()


@both
@sizes
def test_a_broadcast_gives_every_member_the_bytes_of_the_root(size: int, transport: str) -> None:
    contents = [np.random.default_rng(n).bytes(n) for n in (0, 1, SMALL, 3 * CHUNK + 17)]

    def member(gang: Gang, view: View) -> list[Any]:
        got: list[Any] = []
        for root in range(size):
            got += [gang.broadcast_bytes(content if view.rank == root else None, root) for content in contents]
            array = np.full(50_000, view.rank, np.float32)
            gang.broadcast(array, root)
            got.append(array)
        return got

    for got in together(size, transport, member):
        for root in range(size):
            mine = got[5 * root : 5 * root + 5]
            assert mine[:4] == contents
            assert (mine[4] == root).all()


def test_a_torch_tensor_is_summed_in_its_own_memory() -> None:
    def member(gang: Gang, view: View) -> list[float]:
        flat = torch.full((3,), float(view.rank + 1), dtype=torch.float64, requires_grad=True)
        gang.allreduce(flat)
        return [float(x) for x in flat.detach()]

    assert together(3, "memory", member) == [[6.0, 6.0, 6.0]] * 3


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros(4, np.int32), np.zeros(8)[::2]])
def test_what_cannot_be_summed_is_refused_before_anything_is_sent(bad: np.ndarray) -> None:
    def member(gang: Gang, view: View) -> bool:
        with pytest.raises(TypeError, match="AllReduce"):
            gang.allreduce(bad)
        return True

    assert together(2, "memory", member) == [True, True]


@both
def test_members_in_different_operations_learn_it_in_one_sentence(transport: str) -> None:
    with pytest.raises(Mismatch, match="do not run the same program"):
        together(2, transport, lambda gang, view: gang.allreduce(np.zeros(10 + view.rank)))


@both
def test_the_counters_say_what_went_over_the_wire(transport: str) -> None:
    def member(gang: Gang, view: View) -> tuple[int, int, int]:
        for _ in range(3):
            gang.allreduce(np.zeros(200_000))
        stats = gang.stats
        return stats.allreduce_count, stats.bytes_sent, stats.bytes_received

    for count, sent, received in together(3, transport, member):
        assert count == 3
        payload = 3 * 1_600_000 * 4 // 3  # 2(P-1)/P of the array, three times
        assert payload <= sent <= payload + 3 * 8 * 40
        assert payload <= received <= payload + 3 * 8 * 40
