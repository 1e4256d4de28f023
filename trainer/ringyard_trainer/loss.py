"""Losses as sums over samples, so that members add theirs and divide by the global batch: crossEntropy, mse.

Called by `step` and `evaluate`. One sample's mse is the mean over its outputs, as in torch's `mse_loss`.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from ringyard_trainer.errors import BadInput


def check(name: str) -> None:
    """Refuses a loss that is not there yet."""
    if name not in ("crossEntropy", "mse"):
        raise BadInput("spec.fit.loss", f"{name} is not supported yet: use crossEntropy or mse")


def loss_sum(name: str, out: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Sum over the samples of each sample's loss, a scalar.

    Args:
        name: of the loss, as in the manifest.
        out: logits (samples, classes), or predictions (samples, outputs) or (samples,).
        wanted: class numbers (samples,), or values (samples, outputs).
    """
    if name == "crossEntropy":
        return functional.cross_entropy(out, wanted, reduction="sum")
    return functional.mse_loss(out.reshape(wanted.shape), wanted, reduction="sum") / wanted.shape[1]
