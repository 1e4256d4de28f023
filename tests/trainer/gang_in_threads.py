"""A gang of training loops in the threads of one process, over the shipped in-memory transport, for the fit's tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringyard_api.loading import load_job
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.memory import MemoryNetwork, MemoryTransport
from ringyard_trainer.collective.outcomes import Outcome
from ringyard_trainer.collective.roster import Roster
from ringyard_trainer.fit import Fit, prepare
from ringyard_trainer.loop import Loop
from ringyard_trainer.metrics import WorkerMetrics

MANIFEST = """
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: digits}
spec:
  workers: {replicas: 3}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [16]}}
  data:
    uri: sklearn://digits
    split: {validation: 0.1, test: 0.2, seed: 1, stratify: true}
    preprocess: [{standardize: {}}]
  fit: {steps: 30, batchSize: 200, precision: fp64, optimizer: {name: adam, lr: 0.01}, seed: 5}
"""


class Watched(Gang):
    """The gang itself, with a word to the test before each AllReduce."""

    before_allreduce: Callable[[Gang], None] = staticmethod(lambda gang: None)

    def allreduce(self, array: Any) -> None:
        self.before_allreduce(self)
        super().allreduce(array)


class Member(threading.Thread):
    """One training process, as a thread. `ended` is how."""

    def __init__(self, gangs: Gangs, manifest: str, run_dir: Path) -> None:
        super().__init__(daemon=True)
        self.fit: Fit = prepare(load_job(manifest, "test"), run_dir)
        self.transport: MemoryTransport = gangs.network.member()
        self.desk = gangs.roster.desk()
        self.gang = Watched(transport=self.transport, desk=self.desk)
        self.ended: BaseException | None = None
        self._gangs = gangs

    def run(self) -> None:
        try:
            Loop(self.fit, self.gang, WorkerMetrics()).run()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.ended = error
            if not isinstance(error, Outcome):
                self.gang.close()

    def kill(self) -> None:
        """What SIGKILL is to a process: its connections break and it answers nobody any more."""
        self._gangs.network.cut(self.gang.address)

    @property
    def parameters(self) -> NDArray[Any]:
        """All numbers of the model."""
        return np.concatenate([p.detach().numpy().ravel() for p in self.fit.state.model.parameters()])


class Gangs:
    """Members and what they share."""

    def __init__(self, size: int) -> None:
        self.network = MemoryNetwork()
        self.roster = Roster(size)
        self.members: list[Member] = []

    def start(self, manifest: str, run_dir: Path, before_allreduce: Callable[[Gang], None] | None = None) -> Member:
        """One more member."""
        member = Member(self, manifest, run_dir)
        if before_allreduce is not None:
            member.gang.before_allreduce = before_allreduce  # type: ignore[method-assign]
        self.members.append(member)
        member.start()
        return member

    def join(self, seconds: float = 60) -> None:
        """Waits for all members to end."""
        until = time.monotonic() + seconds
        for member in self.members:
            member.join(max(0.0, until - time.monotonic()))
            assert not member.is_alive(), "a member did not end"
            member.gang.close()


def train(size: int, run_dir: Path, manifest: str = MANIFEST) -> list[Member]:
    """An undisturbed run of `size` members."""
    gangs = Gangs(size)
    for _ in range(size):
        gangs.start(manifest, run_dir)
    gangs.join()
    return gangs.members
