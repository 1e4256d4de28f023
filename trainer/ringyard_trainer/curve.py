"""The loss curve of a run in bounded memory.

Called by `loop` (each step) and `summary` (the report). Keeps every `stride`-th step; when full, the stride doubles.
Every member computes the same curve, and a newcomer takes it over with the training state. It knows no other
metric.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 4096


@dataclass(kw_only=True)
class LossCurve:
    """Loss by completed step. `points` is in ascending order of steps."""

    stride: int = 1
    points: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, loss: float) -> None:
        """Notes the loss of the global batch that completed `step` (1-based)."""
        if step % self.stride:
            return
        self.points.append((step, loss))
        if len(self.points) > _MOST:
            self.stride *= 2
            self.points = [point for point in self.points if point[0] % self.stride == 0]
