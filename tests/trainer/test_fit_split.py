"""Seeded, stratified parts of the data."""

from __future__ import annotations

import numpy as np
import pytest
from ringyard_trainer.errors import BadInput
from ringyard_trainer.split import split


def test_the_parts_hold_every_sample_exactly_once_in_the_wanted_sizes() -> None:
    parts = split(np.zeros(200), validation=0.1, test=0.2, seed=7, stratify=False)
    assert (len(parts.validation), len(parts.test), len(parts.train)) == (20, 40, 140)
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test]).tolist()) == list(range(200))


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    def test_part(seed: int) -> list[int]:
        return split(np.zeros(50), validation=0, test=0.5, seed=seed, stratify=False).test.tolist()

    assert test_part(1) == test_part(1) != test_part(2)


def test_stratified_parts_keep_the_proportions_of_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    parts = split(labels, validation=0.1, test=0.2, seed=0, stratify=True)
    assert np.bincount(labels[parts.test]).tolist() == [20, 10, 2]
    assert np.bincount(labels[parts.validation]).tolist() == [10, 5, 1]


def test_many_small_classes_are_in_every_part_and_the_sizes_stay_near_the_fractions() -> None:
    labels = np.repeat(np.arange(30), 7)
    parts = split(labels, validation=0.2, test=0.2, seed=0, stratify=True)
    for part in (parts.train, parts.validation, parts.test):
        assert set(labels[part].tolist()) == set(range(30))
    assert abs(len(parts.test) - 42) <= 1 and abs(len(parts.validation) - 42) <= 1


def test_a_class_with_one_sample_cannot_be_stratified() -> None:
    with pytest.raises(BadInput, match=r"spec\.data\.split\.stratify: class 2 has 1 sample, too few for 2 parts"):
        split(np.array([0, 0, 1, 1, 2]), validation=0, test=0.4, seed=0, stratify=True)


def test_a_fraction_that_gives_no_sample_is_refused() -> None:
    with pytest.raises(BadInput, match=r"spec\.data\.split\.test: 0\.01 of 20 samples is no sample at all"):
        split(np.zeros(20), validation=0, test=0.01, seed=0, stratify=False)
