"""Performs the actions of a plan on processes, the coordinator and the endpoint. Called by `training` once a loop.

Every action may come again: to perform it twice is to perform it once. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.actions import Action, FinishGroup, ForgetWorker, Order, PublishModel, StartWorker, StopWorker
from ringyard_operator.coordinator import Coordinator
from ringyard_operator.local.endpoint import publish
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.processes import Workers


def perform(
    state: StateDir, job: TrainingJob, actions: Iterable[Action], workers: Workers, coordinator: Coordinator
) -> None:
    """Does what the plan says, in its order. Raises StateUnusable where the disk refuses."""
    for action in actions:
        match action:
            case StartWorker():
                workers.start(job, action.index, action.attempt)
            case StopWorker():
                workers.stop(action.uid, action.grace_seconds)
            case ForgetWorker():
                workers.forget(action.index, action.attempt, action.uid)
                coordinator.forget(action.uid)
            case Order():
                coordinator.order(action)
            case FinishGroup():
                coordinator.finish(action.reason)
            case PublishModel():
                publish(state, job, action.endpoint, action.uri, action.digest)
    workers.kill_overdue()
