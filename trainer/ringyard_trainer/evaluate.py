"""Quality of a model on a part of the data: each member its share of the samples, the sums added over all members.

Called by `loop` (validation after each epoch, over the gang) and `finish` (the last word, by the leader alone).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ringyard_trainer import scores
from ringyard_trainer.fit import Fit
from ringyard_trainer.loss import loss_sum

_ROWS = 1024  # of one forward pass


def sums(
    fit: Fit,
    model: torch.nn.Module,
    samples: NDArray[np.int64],
    tick: Callable[[float], None] = lambda seconds: None,
) -> scores.Sums:
    """Sums over these samples, to be added to those of other members and given to `metrics`. May be of no samples.

    `tick` is told now and then how many seconds it has taken so far.
    """
    begun = time.monotonic()
    training = model.training
    model.eval()
    total = np.zeros(2 + (fit.width**2 if fit.data.classes else 4 * fit.width))
    try:
        with torch.no_grad():
            for start in range(0, len(samples), _ROWS):
                rows = samples[start : start + _ROWS]
                out = model(fit.data.inputs[torch.from_numpy(rows)])
                loss = loss_sum(fit.loss, out, fit.data.targets[torch.from_numpy(rows)])
                total += _of(fit, out, rows, loss.item())
                tick(time.monotonic() - begun)
    finally:
        model.train(training)
    return total


def metrics(fit: Fit, total: scores.Sums) -> Mapping[str, float]:
    """All metrics that suit the loss, by the manifest's names."""
    return scores.classification_scores(total) if fit.data.classes else scores.regression_scores(total)


def _of(fit: Fit, out: torch.Tensor, rows: NDArray[np.int64], loss: float) -> scores.Sums:
    wanted: NDArray[Any] = fit.data.targets.numpy()[rows]
    if fit.data.classes:
        return scores.classification_sums(out.argmax(-1).numpy(), wanted, loss, out.shape[1])
    return scores.regression_sums(out.numpy().reshape(wanted.shape), wanted, loss, fit.data.centre)
