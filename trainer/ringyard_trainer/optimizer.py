"""Makes the optimizer that the manifest names: sgd, adam, adamw, torch's own.

Called by `fit`. The learning rate is set anew before each step by `step`; weight decay is torch's for each optimizer
(L2 in sgd and adam, decoupled in adamw). The place for further optimizers is `make`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from ringyard_api.trainingjob import OptimizerSpec

from ringyard_trainer.errors import BadInput


def make(spec: OptimizerSpec, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer over these parameters, in this order. `foreach` off: one fixed order of arithmetic."""
    betas = (spec.betas[0], spec.betas[1])
    if spec.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=False
        )
    if spec.name == "adam":
        return torch.optim.Adam(parameters, lr=spec.lr, betas=betas, weight_decay=spec.weight_decay, foreach=False)
    if spec.name == "adamw":
        return torch.optim.AdamW(parameters, lr=spec.lr, betas=betas, weight_decay=spec.weight_decay, foreach=False)
    raise BadInput("spec.fit.optimizer.name", f"{spec.name} is not supported yet: use sgd, adam or adamw")
