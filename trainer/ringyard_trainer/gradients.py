"""All gradients of a step in one contiguous buffer, with the loss and a flag behind them: one AllReduce a step.

Called by `step`. Each parameter's `.grad` is a view into the buffer, so that backward writes where the engine reads and
the optimizer reads where the engine wrote: nothing is copied. It knows no samples and no members.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from numpy.typing import NDArray

_EXTRA = 2  # loss, pending


class Gradients:
    """The buffer of one model. Parameters that need no gradient are left out."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        count = sum(parameter.numel() for parameter in self._parameters)
        dtype = self._parameters[0].dtype if self._parameters else torch.float32
        self._flat = torch.zeros(count + _EXTRA, dtype=dtype)
        self.gradients = self._flat[:count]
        self._views: list[torch.Tensor] = []
        start = 0
        for parameter in self._parameters:
            self._views.append(self._flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()

    @property
    def buffer(self) -> NDArray[Any]:
        """What is reduced, shape (numbers of the model + 2,): shares its memory with the gradients."""
        return self._flat.numpy()

    def clear(self) -> None:
        """Zeros everywhere, and every `.grad` a view again whatever user code did to it."""
        self._flat.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def collect(self) -> None:
        """Brings back what backward put elsewhere (it replaces a `.grad` of another layout instead of adding)."""
        for parameter, view in zip(self._parameters, self._views, strict=True):
            if parameter.grad is not None and parameter.grad.data_ptr() != view.data_ptr():
                view.copy_(parameter.grad)
                parameter.grad = view

    @property
    def loss(self) -> float:
        """Loss of the samples summed so far ÷ global batch."""
        return float(self._flat[-2])

    @loss.setter
    def loss(self, value: float) -> None:
        self._flat[-2] = value

    @property
    def pending(self) -> float:
        """Members that know of a newer view."""
        return float(self._flat[-1])

    @pending.setter
    def pending(self, value: float) -> None:
        self._flat[-1] = value

    def clip(self, largest: float) -> None:
        """Scales the reduced gradient to the norm `largest` where it is longer (torch.nn.utils.clip_grad_norm_)."""
        norm = float(torch.linalg.vector_norm(self.gradients))
        if norm > largest:
            self.gradients.mul_(largest / (norm + 1e-6))
