"""Learning rates against torch's own schedulers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from ringyard_api.trainingjob import ScheduleSpec
from ringyard_trainer.schedule import learning_rate
from torch.optim import lr_scheduler

Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
CASES: list[tuple[ScheduleSpec, Make]] = [
    (ScheduleSpec(name="constant"), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (ScheduleSpec(name="step", step_size=7, gamma=0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
    (ScheduleSpec(name="cosine", min_lr=0.01), lambda o: lr_scheduler.CosineAnnealingLR(o, 40, 0.01)),
]


@pytest.mark.parametrize(("spec", "make"), CASES, ids=[spec.name for spec, _ in CASES])
def test_the_rate_of_each_step_is_torchs(spec: ScheduleSpec, make: Make) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = make(optimizer)
    for step in range(40):
        assert learning_rate(spec, 0.5, step, 40) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_warm_up_rises_to_the_full_rate_and_the_cosine_begins_after_it() -> None:
    spec = ScheduleSpec(name="cosine", warmup_steps=4)
    rates = [learning_rate(spec, 1.0, step, 24) for step in range(24)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[14] == pytest.approx(0.5)
    assert rates[-1] < 0.01
