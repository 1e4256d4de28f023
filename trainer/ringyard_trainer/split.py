"""Seeded split of the samples into train, validation and test part, stratified by class where asked.

Called by `dataset`. Every member computes it for itself and gets the same parts. It knows labels only, no features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringyard_trainer.errors import BadInput

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Sample numbers of each part, in ascending order. Together every sample exactly once."""

    train: Indices
    validation: Indices
    test: Indices


def split(labels: NDArray[Any], *, validation: float, test: float, seed: int, stratify: bool) -> Parts:
    """Splits `len(labels)` samples.

    Args:
        labels: shape (samples,); looked at only under `stratify`.
        validation: fraction of all samples, 0 for none.
        test: likewise.
        seed: of the shuffle.
        stratify: cut every class by the same fractions.

    Raises:
        BadInput: a class is too small for the parts, or a part would be empty.
    """
    generator = np.random.default_rng(seed)
    groups = _classes(labels, validation, test) if stratify else [np.arange(len(labels))]
    cuts = _apportion(groups, validation, test, generator)
    in_validation, in_test, in_train = (np.sort(np.concatenate(cut)) for cut in cuts)
    for name, fraction, part in (("validation", validation, in_validation), ("test", test, in_test)):
        if fraction > 0 and not len(part):
            raise BadInput(
                f"spec.data.split.{name}",
                f"{fraction} of {len(labels)} samples is no sample at all: use a larger fraction or more data",
            )
    if not len(in_train):
        raise BadInput("spec.data.split", f"leaves none of the {len(labels)} samples to train on: use smaller parts")
    return Parts(train=in_train, validation=in_validation, test=in_test)


def _classes(labels: NDArray[Any], validation: float, test: float) -> list[Indices]:
    values, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    parts = 1 + (validation > 0) + (test > 0)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if count < parts:
            raise BadInput(
                "spec.data.split.stratify",
                f"class {value!r} has {count} sample{'s' * (count > 1)}, too few for {parts} parts: "
                "add samples, drop the class, or set stratify: false",
            )
    return [np.flatnonzero(inverse == number) for number in range(len(values))]


def _apportion(
    groups: list[Indices], validation: float, test: float, generator: np.random.Generator
) -> tuple[list[Indices], list[Indices], list[Indices]]:
    """Shuffles each group and cuts it. Remainders are carried from group to group, so that the parts' sizes over all
    groups are the rounded fractions; a group of enough members gives at least one to each part.
    """
    in_validation: list[Indices] = []
    in_test: list[Indices] = []
    in_train: list[Indices] = []
    owed = [0.0, 0.0]
    for group in groups:
        shuffled = generator.permutation(group)
        taken = []
        for number, fraction in enumerate((validation, test)):
            owed[number] += fraction * len(group)
            least = 1 if len(groups) > 1 and fraction > 0 else 0
            count = max(least, round(owed[number]))
            owed[number] -= count
            taken.append(count)
        most = len(group) - (1 if len(groups) > 1 else 0)
        taken[1] = max(0, min(taken[1], most - (1 if validation > 0 and len(groups) > 1 else 0)))
        taken[0] = max(0, min(taken[0], most - taken[1]))
        in_validation.append(shuffled[: taken[0]])
        in_test.append(shuffled[taken[0] : taken[0] + taken[1]])
        in_train.append(shuffled[taken[0] + taken[1] :])
    return in_validation, in_test, in_train
