"""One optimizer step on one global batch: my share of the gradient, and, once it is summed over all, the update.

Called by `loop`, with the AllReduce between the two halves. `compute` changes nothing but the gradient buffer and may
be repeated; `update` runs only on a sum that is whole. They know no views and no failures.
"""

from __future__ import annotations

import math

import torch

from ringyard_trainer import schedule
from ringyard_trainer.errors import NotFinite
from ringyard_trainer.fit import Fit
from ringyard_trainer.loss import loss_sum
from ringyard_trainer.sampler import share


def compute(fit: Fit, rank: int, size: int, *, pending: bool) -> None:
    """Fills the buffer with the sum over this member's samples ÷ global batch. A member without samples adds zeros."""
    batch = fit.sampler.global_batch(fit.state.step)
    mine = torch.from_numpy(fit.data.parts.train[batch[share(len(batch), rank, size)]])
    fit.gradients.clear()
    if len(mine):
        torch.manual_seed(_seed(fit.how.seed, fit.state.step, rank))  # dropout: a redone step repeats itself
        out = fit.state.model(fit.data.inputs[mine])
        loss = loss_sum(fit.loss, out, fit.data.targets[mine]) / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        fit.gradients.collect()
        fit.gradients.loss = loss.item()
    fit.gradients.pending = float(pending)


def update(fit: Fit) -> float:
    """One optimizer step from the summed buffer; returns the loss of the global batch.

    Raises:
        NotFinite: the loss is nan or infinite. It was summed before, so all members raise alike.
    """
    loss, state, spec = fit.gradients.loss, fit.state, fit.how
    if not math.isfinite(loss):
        raise NotFinite(
            f"the loss became {loss} at step {state.step + 1}: "
            "lower spec.fit.optimizer.lr, set spec.fit.regularization.clipGradNorm, or standardize the features"
        )
    clip = spec.regularization.clip_grad_norm
    if clip:
        fit.gradients.clip(clip)
    rate = schedule.learning_rate(spec.schedule, spec.optimizer.lr, state.step, fit.total_steps)
    state.optimizer.update(fit.gradients.gradients, rate, state.step + 1)
    batch = len(fit.sampler.global_batch(state.step))
    state.epoch_loss += loss * batch
    state.step += 1
    state.validated = False
    state.curve.add(state.step, loss)
    return loss


def _seed(seed: int, step: int, rank: int) -> int:
    return ((seed * 1_000_003 + step) * 4_099 + rank) % 2**63
