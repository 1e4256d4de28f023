"""The global batch of a step is the same with any number of members, and no sample is lost or used twice."""

from __future__ import annotations

import numpy as np
import pytest
from ringyard_trainer.sampler import Sampler, share


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_members_together_work_on_each_sample_of_a_batch_exactly_once(size: int) -> None:
    batch = Sampler(samples=100, batch=7, seed=3).global_batch(4)
    parts = [batch[share(len(batch), rank, size)] for rank in range(size)]
    assert np.concatenate(parts).tolist() == batch.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_epoch_uses_every_sample_once_and_its_last_batch_is_smaller() -> None:
    sampler = Sampler(samples=100, batch=32, seed=3)
    batches = [sampler.global_batch(step) for step in range(sampler.steps_per_epoch)]
    assert [len(batch) for batch in batches] == [32, 32, 32, 4]
    assert sorted(np.concatenate(batches).tolist()) == list(range(100))


def test_epochs_have_different_orders_and_the_same_seed_the_same_order() -> None:
    one, again = Sampler(samples=50, batch=50, seed=1), Sampler(samples=50, batch=50, seed=1)
    assert one.global_batch(0).tolist() != one.global_batch(1).tolist()
    assert one.global_batch(1).tolist() == again.global_batch(1).tolist()


def test_a_batch_smaller_than_the_gang_leaves_some_members_without_samples() -> None:
    assert [share(2, rank, 3).stop - share(2, rank, 3).start for rank in range(3)] == [0, 1, 1]
