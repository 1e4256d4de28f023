"""The quality gate: do a model's metrics reach what the manifest demands?

The trainer notes the answer in the artifact, `plan` decides by it. Pure; it computes no metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from ringyard_api.about import About
from ringyard_api.trainingjob import GateSpec


@dataclass(frozen=True, kw_only=True)
class GateCheck:
    """One demand and what became of it."""

    metric: Annotated[str, About("Name of the metric.")]
    value: Annotated[float | None, About("Its value; absent where it was not computed or is not finite.")] = None
    at_least: Annotated[float | None, About("Least value that passes.")] = None
    at_most: Annotated[float | None, About("Greatest value that passes.")] = None
    passed: Annotated[bool, About("Whether it holds.")]


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The answer: all demands hold, or not, and one sentence why."""

    passed: Annotated[bool, About("Whether all demands hold; true where there are none.")]
    message: Annotated[str, About("One sentence.")]
    checks: Annotated[tuple[GateCheck, ...], About("Each demand.")] = ()


def judge(gate: Sequence[GateSpec], metrics: Mapping[str, float]) -> GateResult:
    """Holds metrics against the gate. A metric that is missing or not finite never passes."""
    checks = tuple(_check(each, metrics.get(each.metric)) for each in gate)
    if not checks:
        return GateResult(passed=True, message="there is no gate")
    failed = [_sentence(check) for check in checks if not check.passed]
    message = "; ".join(failed) if failed else ", ".join(_sentence(check) for check in checks)
    return GateResult(passed=not failed, message=message, checks=checks)


def _check(demand: GateSpec, value: float | None) -> GateCheck:
    known = value if value is not None and math.isfinite(value) else None
    passed = (
        known is not None
        and (demand.at_least is None or known >= demand.at_least)
        and (demand.at_most is None or known <= demand.at_most)
    )
    return GateCheck(metric=demand.metric, value=known, at_least=demand.at_least, at_most=demand.at_most, passed=passed)


def _sentence(check: GateCheck) -> str:
    """`accuracy 0.91 is below 0.95`."""
    if check.value is None:
        return f"{check.metric} was not computed, or is not a finite number"
    value = _digits(check)
    if check.at_least is not None:
        return f"{check.metric} {value} is {'at least' if check.passed else 'below'} {check.at_least:.12g}"
    if check.at_most is not None:
        return f"{check.metric} {value} is {'at most' if check.passed else 'above'} {check.at_most:.12g}"
    return f"{check.metric} is {value}"


def _digits(check: GateCheck) -> str:
    """Four digits, or all of them where four would hide on which side of the bound it lies."""
    assert check.value is not None
    short = f"{check.value:.4g}"
    bound = check.at_least if check.at_least is not None else check.at_most
    hidden = bound is not None and (float(short) >= bound) != (check.value >= bound)
    return repr(check.value) if hidden else short
