"""The presets that a manifest may name in `spec.model.factory`: linear, mlp, cnn.

Called by `factory`. Each takes rows of features (batch, features) and gives logits (batch, classes) or predictions
(batch, outputs). They know nothing of the data beyond its width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ringyard_trainer.errors import BadInput

_ARGS = "spec.model.args"


def linear(*, features: int, classes: int | None = None, outputs: int | None = None) -> nn.Module:
    """One linear layer: softmax regression with `classes`, linear regression with `outputs`."""
    return nn.Linear(features, _width(classes, outputs))


def mlp(
    *,
    features: int,
    hidden: Sequence[int] = (64,),
    classes: int | None = None,
    outputs: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Linear layers with ReLU between them, each hidden one followed by dropout if it is not 0."""
    layers: list[nn.Module] = []
    width = features
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, _width(classes, outputs)))


def cnn(
    *,
    features: int,
    channels: Sequence[int] = (16, 32),
    classes: int | None = None,
    outputs: int | None = None,
    dropout: float = 0.0,
    depth: int = 1,
) -> nn.Module:
    """Convolutions (3×3, ReLU, 2×2 max pooling) over square images that come as rows of `depth`·side·side features."""
    side = math.isqrt(features // depth)
    if side * side * depth != features:
        raise BadInput(
            "spec.model.factory",
            f"cnn needs square images of {depth} plane{'s' * (depth > 1)}, but {features} features are none: "
            "use mlp, or choose other features",
        )
    layers: list[nn.Module] = [nn.Unflatten(1, (depth, side, side))]
    planes = depth
    for channel in channels:
        layers += [nn.Conv2d(planes, channel, 3, padding=1), nn.ReLU()]
        planes = channel
        if side >= 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    head = nn.Linear(planes * side * side, _width(classes, outputs))
    return nn.Sequential(*layers, nn.Flatten(), *([nn.Dropout(dropout)] if dropout else []), head)


def _width(classes: int | None, outputs: int | None) -> int:
    if classes is not None and outputs is not None:
        raise BadInput(_ARGS, "has classes and outputs: a classifier has classes, a regression has outputs")
    return classes if classes is not None else outputs if outputs is not None else 1
