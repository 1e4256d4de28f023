"""The learning rate of a step, as a factor of the optimizer's `lr`: constant, step, cosine, each with linear warm-up.

Called by `step`. A function of the step number alone, so there is no scheduler state to keep or to hand to a newcomer.
Sources: torch.optim.lr_scheduler.StepLR and CosineAnnealingLR (closed forms), Goyal et al. 2017 for the warm-up.
"""

from __future__ import annotations

import math

from ringyard_api.trainingjob import ScheduleSpec


def learning_rate(schedule: ScheduleSpec, lr: float, step: int, total_steps: int) -> float:
    """Learning rate of step `step` (0-based) of `total_steps`.

    Warm-up: step w of `warmup_steps` trains with lr · (w + 1) / warmup_steps; the schedule proper begins after it.
    step: lr · gamma ** (steps since // step_size). cosine: from lr down to min_lr at the end.
    """
    warmup = schedule.warmup_steps
    if step < warmup:
        return lr * (step + 1) / warmup
    since, rest = step - warmup, max(1, total_steps - warmup)
    if schedule.name == "step":
        return lr * float(schedule.gamma) ** (since // (schedule.step_size or rest))
    if schedule.name == "cosine":
        return schedule.min_lr + (lr - schedule.min_lr) * (1 + math.cos(math.pi * min(since, rest) / rest)) / 2
    return lr
