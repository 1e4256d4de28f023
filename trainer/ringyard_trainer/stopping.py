"""Early stopping: has the watched metric stopped improving?

Called by `loop` after each validation. Pure; its state is plain JSON and travels with the training state. It does not
know how the metric was computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringyard_api.trainingjob import EarlyStoppingSpec

_SMALLER_IS_BETTER = frozenset({"loss", "mse", "mae"})


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What early stopping remembers.

    Attributes:
        best: best value so far, None before the first validation.
        best_step: completed steps at that value.
        worse: validations in a row without an improvement.
    """

    best: float | None = None
    best_step: int = 0
    worse: int = 0


def smaller_is_better(metric: str) -> bool:
    """Whether a metric (with or without `val_`) is to fall."""
    return metric.removeprefix("val_") in _SMALLER_IS_BETTER


def look(watch: Watch, spec: EarlyStoppingSpec, value: float, step: int) -> Watch:
    """The memory after one more validation. An improvement must exceed `min_delta`."""
    gain = (
        None if watch.best is None else (watch.best - value if smaller_is_better(spec.metric) else value - watch.best)
    )
    if gain is None or gain > spec.min_delta:
        return Watch(best=value, best_step=step)
    return replace(watch, worse=watch.worse + 1)


def stopped(watch: Watch, spec: EarlyStoppingSpec | None) -> bool:
    """Whether `patience` validations in a row brought nothing."""
    return spec is not None and watch.worse >= max(1, spec.patience)
