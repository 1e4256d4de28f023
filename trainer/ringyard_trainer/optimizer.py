"""The optimizers that a manifest may name, over all parameters as one vector: sgd, adam, adamw.

Called by `fit` and `step`; `state` keeps what they remember. The arithmetic is that of torch.optim's classes of these
names (weight decay is L2 in sgd and adam, decoupled in adamw), and tests hold them to it. They are ours because torch's
import its compiler at the first step, seconds of every start, and because one vector is a few operations whatever the
number of layers. The place for a further optimizer is `Optimizer.update`. Sources: Kingma & Ba 2015 (adam), Loshchilov
& Hutter 2019 (adamw).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from ringyard_api.trainingjob import OptimizerSpec

from ringyard_trainer.errors import BadInput

_EPSILON = 1e-8
_MEMORY = {"sgd": ("momentum",), "adam": ("mean", "square"), "adamw": ("mean", "square")}


class Optimizer:
    """Updates parameters in place. They become views into one vector, in the order given.

    Attributes:
        memory: what it remembers by name, each as long as the parameters together.
    """

    def __init__(self, spec: OptimizerSpec, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Raises BadInput for an optimizer that is not there yet."""
        if spec.name not in _MEMORY:
            raise BadInput("spec.fit.optimizer.name", f"{spec.name} is not supported yet: use sgd, adam or adamw")
        self._spec = spec
        whole = list(parameters)
        self._numbers = torch.cat([parameter.detach().reshape(-1) for parameter in whole])
        start = 0
        for parameter in whole:
            parameter.data = self._numbers[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()
        names = _MEMORY[spec.name] if spec.name != "sgd" or spec.momentum else ()
        self.memory = {name: torch.zeros_like(self._numbers) for name in names}

    def update(self, gradient: torch.Tensor, rate: float, count: int) -> None:
        """Takes one step.

        Args:
            gradient: shape (numbers,), in the order of the parameters; may be overwritten.
            rate: learning rate of this step.
            count: 1 for the first step of the run, 2 for the second …
        """
        spec, numbers = self._spec, self._numbers
        with torch.no_grad():
            if spec.weight_decay and spec.name == "adamw":
                numbers.mul_(1 - rate * spec.weight_decay)
            elif spec.weight_decay:
                gradient.add_(numbers, alpha=spec.weight_decay)
            if spec.name == "sgd":
                if spec.momentum:
                    gradient = self.memory["momentum"].mul_(spec.momentum).add_(gradient)
                numbers.add_(gradient, alpha=-rate)
                return
            first, second = spec.betas
            mean = self.memory["mean"].lerp_(gradient, 1 - first)
            square = self.memory["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            root = square.sqrt().div_(math.sqrt(1 - second**count)).add_(_EPSILON)
            numbers.addcdiv_(mean, root, value=-rate / (1 - first**count))
