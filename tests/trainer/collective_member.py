"""A training process without a model: the tests start it as a real process that attends, sums and survives.

Step s adds (i + 1)·(s + 1) for each of BATCH samples i, cut by the members: the total after n steps is exact and known,
so a lost or a doubled sample shows. It prints one JSON line for each thing that happens.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import numpy as np
from ringyard_api.launch import WorkerLaunch
from ringyard_trainer.collective.agreement import agree, standing
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.outcomes import Fenced, Finished, Terminated, ViewLost
from ringyard_trainer.collective.view import View

BATCH = 12


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, "at": time.monotonic(), **facts}), flush=True)


class Trainer:
    def __init__(self, gang: Gang, steps: int, length: int, pause: float) -> None:
        self.gang, self.steps, self.pause = gang, steps, pause
        self.flat = np.zeros(length, np.int64)
        self.step = self.total = 0
        self.has_state = False

    def live(self) -> None:
        while True:
            view = self.gang.next_view()
            say("view", size=view.size, rank=view.rank, number=view.epoch.number, term=view.epoch.term, step=self.step)
            try:
                self.catch_up(view)
                self.train(view)
            except ViewLost as lost:
                say("lost", reason=str(lost), step=self.step)

    def catch_up(self, view: View) -> None:
        vector = np.array(standing(view.rank, view.size, has_state=self.has_state, step=self.step), np.int64)
        self.gang.allreduce(vector)
        agreed = agree(vector.tolist())
        if agreed.source is not None and agreed.behind:
            mine = json.dumps([self.step, self.total]).encode() if view.rank == agreed.source else None
            self.step, self.total = json.loads(self.gang.broadcast_bytes(mine, agreed.source))
        self.has_state = True

    def train(self, view: View) -> None:
        while self.step < self.steps:
            time.sleep(self.pause)  # what a model would compute
            self.flat[:] = sum((i + 1) * (self.step + 1) for i in range(view.rank, BATCH, view.size))
            self.flat[-1] = self.gang.pending
            self.gang.allreduce(self.flat)
            assert self.flat[0] == self.flat[-2]
            self.total += int(self.flat[0])
            self.step += 1
            self.gang.report(phase="TRAINING", step=self.step, total_steps=self.steps)
            if self.step % 10 == 0:
                say("step", step=self.step)
            if self.flat[-1] == view.size:
                return
        self.gang.report(phase="FINISHED")
        if view.rank == view.leader:
            self.gang.send_result(json.dumps({"step": self.step, "total": self.total}).encode())


def main() -> int:
    gang = Gang(WorkerLaunch.from_environment(os.environ))
    signal.signal(signal.SIGTERM, lambda *_: gang.leave("SIGTERM"))
    trainer = Trainer(gang, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    gang.attend()
    code = 0
    try:
        trainer.live()
    except Finished:
        say("finished", step=trainer.step, total=trainer.total)
    except Terminated:
        say("terminated", step=trainer.step, total=trainer.total)
        code = 143
    except Fenced:
        say("fenced")
        code = 143
    gang.close()
    say("stats", **vars(gang.stats))
    return code


if __name__ == "__main__":
    sys.exit(main())
