"""A model of your own: any function that returns a torch.nn.Module can be `spec.model.factory`.

Ringyard puts this folder on PYTHONPATH (`spec.code.path`), calls the function with `spec.model.args`, and adds
`features` and `classes` from the data where the function names them.
"""

import torch
from torch import nn


class Block(nn.Module):
    """Two layers around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows + self.body(rows)


def residual(features: int, classes: int, width: int = 32, blocks: int = 2) -> nn.Module:
    """A small residual network: rows of `features` in, `classes` logits out."""
    body = [Block(width) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(features, width), *body, nn.LayerNorm(width), nn.Linear(width, classes))
