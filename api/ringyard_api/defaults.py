"""The visible defaulting step: what a manifest leaves open and is no constant, filled in.

`cli` calls it after loading; `ringyard validate -o yaml` shows its result. Constant defaults stand on the types.
"""

from __future__ import annotations

from dataclasses import replace

from ringyard_api.rules import METRICS_OF_LOSS
from ringyard_api.trainingjob import TrainingJob


def resolve(job: TrainingJob) -> TrainingJob:
    """The job with every default in its place. To resolve twice changes nothing.

    `evaluate.metrics` becomes those that suit the loss where it is empty, and always holds what the gate asks for.
    """
    spec = job.spec
    if spec.fit is None:
        return job
    asked = spec.evaluate.metrics or METRICS_OF_LOSS[spec.fit.loss]
    gated = tuple(gate.metric for gate in spec.evaluate.gate)
    metrics = tuple(dict.fromkeys((*asked, *gated)))
    return replace(job, spec=replace(spec, evaluate=replace(spec.evaluate, metrics=metrics)))
