"""Which samples make a step: a seeded permutation with a global cursor, cut by the members that are alive.

Called by `loop`. The global batch of a step is a function of (seed, step) alone, so any number of members works on the
same samples and a redone step repeats itself (COLLECTIVE.md §Losing no step). It knows no data, no gang and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Cuts `samples` into global batches. The last batch of an epoch may be smaller, it is never padded.

    Attributes:
        samples: number of training samples, at least 1.
        batch: global batch size, at least 1.
        seed: of the permutations; each epoch has its own.
    """

    samples: int
    batch: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps that use every sample once."""
        return -(-self.samples // self.batch)

    def epoch_of(self, step: int) -> int:
        """Pass over the data, 0-based, that step number `step` (0-based) belongs to."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Order of the samples in an epoch, shape (samples,)."""
        return _order(self.samples, self.seed, epoch)

    def global_batch(self, step: int) -> NDArray[np.int64]:
        """Sample numbers of a step over all members, shape (≤ batch,)."""
        start = (step % self.steps_per_epoch) * self.batch
        return self.order(self.epoch_of(step))[start : start + self.batch]


@lru_cache(maxsize=2)
def _order(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    order.flags.writeable = False
    return order


def share(count: int, rank: int, size: int) -> slice:
    """The part of `count` items that rank `rank` of `size` works on: contiguous, sizes differ by one at most,
    together each item exactly once. May be empty.
    """
    return slice(count * rank // size, count * (rank + 1) // size)
