"""The training loop: from view to view, from step to step, to the end.

Called by `__main__` and, over the in-memory transport, by tests. It reads straight down: agree on the state, then step,
validate, checkpoint; on a lost member begin the present step anew in the next view (COLLECTIVE.md §Losing no step).
What a step is, `step` knows; what happens after the last one, `finish`.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from ringyard_trainer import checkpoint, evaluate, finish, state, step, stopping
from ringyard_trainer.collective.agreement import agree, standing
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.collective.outcomes import Terminated, ViewLost
from ringyard_trainer.collective.view import View
from ringyard_trainer.fit import Fit
from ringyard_trainer.metrics import WorkerMetrics
from ringyard_trainer.sampler import share

_RATE_SECONDS = 1.0  # over which samples a second are counted
_LONG_VALIDATION_SECONDS = 2.0
_MOST_EPOCHS = 4096  # in the history, which is in every checkpoint


class Loop:
    """One member's part in a run. `run` returns never: it ends by an outcome of the gang, or by an error."""

    def __init__(self, fit: Fit, gang: Gang, metrics: WorkerMetrics) -> None:
        self._fit = fit
        self._gang = gang
        self._metrics = metrics
        self._notes: list[str] = []
        self._has_state = self._resume()
        self._view: View | None = None
        self._since = (time.monotonic(), 0)  # when and after how many samples the rate was last taken
        self._samples = 0
        self._rate = 0.0

    def run(self) -> None:
        """Trains until the gang says otherwise.

        Raises:
            Finished, Fenced, Terminated: how the gang ends it.
            TrainerError: what the user must be told.
        """
        self._gang.attend(step=self._fit.state.step, has_state=self._has_state)
        if self._notes:
            self._gang.report(note="; ".join(self._notes))
        try:
            while True:
                with contextlib.suppress(ViewLost):
                    self._live(self._gang.next_view())
        except Terminated:
            self._report("CHECKPOINTING")  # the last step is known before the member is gone
            if self._view is not None and self._view.rank == self._view.leader and self._fit.state.step:
                self._save(checkpoint.name_of(self._fit.state.step))  # whoever leaves last leaves the newest state
            raise

    def _live(self, view: View) -> None:
        """One view, to its end or to the run's."""
        self._view = view
        self._metrics.members.set(view.size)
        if not finish.stands(self._fit):
            self._agree(view)
            say(f"rank {view.rank} of {view.size}, view {view.epoch}, at step {self._fit.state.step}")
            self._since = (time.monotonic(), self._samples)
            if not self._train(view):
                return  # all know of a newer view and go there together
        if view.rank == view.leader or finish.stands(self._fit):
            # whoever sees that the result stands says so: a leader that looked too early would wait for us for ever
            finish.finish(self._fit, self._gang)
        self._gang.report(phase="FINISHED", step=self._fit.state.step, total_steps=self._total())

    def _agree(self, view: View) -> None:
        """All take the state of whoever is ahead. A state is named by its tick: validations count as positions too."""
        mine = np.array(
            standing(view.rank, view.size, has_state=self._has_state, step=self._fit.state.tick), dtype=np.int64
        )
        self._gang.allreduce(mine)
        agreed = agree(mine.tolist())
        source = view.leader if agreed.source is None else agreed.source
        if agreed.behind:
            data = state.to_bytes(self._fit.state) if view.rank == source else None
            data = self._gang.broadcast_bytes(data, source)
            if view.rank in agreed.behind and view.rank != source:
                state.from_bytes(self._fit.state, data)
        self._has_state = True

    def _train(self, view: View) -> bool:
        """Steps until the run is done (True), or until all members know of a newer view (False)."""
        fit = self._fit
        while not self._done():
            if self._validation_due():
                self._validate(view)
                continue
            step.compute(fit, view.rank, view.size, pending=self._gang.pending)
            self._gang.allreduce(fit.gradients.buffer)
            everybody_knows = fit.gradients.pending == view.size
            loss = step.update(fit)
            self._after_step(view, loss)
            if everybody_knows:
                return False
        return True

    def _done(self) -> bool:
        fit = self._fit
        if self._validation_due():
            return False
        return fit.state.step >= fit.total_steps or stopping.stopped(fit.state.watch, fit.how.early_stopping)

    def _validation_due(self) -> bool:
        """An epoch is complete and not closed yet."""
        now = self._fit.state
        return bool(now.step) and not now.validated and now.step % self._fit.sampler.steps_per_epoch == 0

    def _validate(self, view: View) -> None:
        """Closes an epoch: quality on the validation part, early stopping, one line of history."""
        fit = self._fit
        entry: dict[str, float] = {"epoch": float(fit.state.step // fit.sampler.steps_per_epoch)}
        entry |= {"step": float(fit.state.step), "loss": fit.state.epoch_loss / fit.sampler.samples}
        samples = fit.data.parts.validation
        if len(samples):
            mine = samples[share(len(samples), view.rank, view.size)]
            sums = evaluate.sums(fit, fit.state.model, mine, tick=self._evaluating)
            self._gang.allreduce(sums)
            entry |= {f"val_{name}": value for name, value in evaluate.metrics(fit, sums).items()}
        fit.state.history.append(entry)
        if len(fit.state.history) > _MOST_EPOCHS:
            del fit.state.history[:-1:2]  # the older, the coarser
        fit.state.epoch_loss = 0.0
        fit.state.validated = True
        early = fit.how.early_stopping
        if early is not None and early.metric in entry:
            fit.state.watch = stopping.look(fit.state.watch, early, entry[early.metric], fit.state.step)
            if fit.state.watch.worse == 0:
                state.keep_best(fit.state)
        if view.rank == view.leader:
            say("epoch " + "  ".join(f"{name} {value:.6g}" for name, value in entry.items())[len("epoch ") :])

    def _evaluating(self, seconds: float) -> None:
        """A validation that lasts is told, for it is no hang; a short one is a part of training."""
        if seconds > _LONG_VALIDATION_SECONDS:
            self._report("EVALUATING")

    def _after_step(self, view: View, loss: float) -> None:
        fit = self._fit
        batch = len(fit.sampler.global_batch(fit.state.step - 1))
        self._samples += batch
        self._metrics.steps.inc()
        self._metrics.samples.inc(len(range(batch)[share(batch, view.rank, view.size)]))
        self._metrics.loss.set(loss)
        now, (since, samples) = time.monotonic(), self._since
        if now - since >= _RATE_SECONDS or not self._rate:
            self._rate = (self._samples - samples) / max(now - since, 1e-9)
            self._since = (now, self._samples)
            self._metrics.rate.set(self._rate)
        self._report("TRAINING", loss=loss)
        if view.rank == view.leader and (self._due(fit.state.step) or self._gang.checkpoint_wanted()):
            self._save(checkpoint.name_of(fit.state.step))

    def _due(self, completed: int) -> bool:
        return completed % self._fit.spec.checkpoint.every_steps == 0

    def _save(self, name: str) -> None:
        """Writes a checkpoint. A disk that takes none stops no training: the older ones stand."""
        fit = self._fit
        try:
            checkpoint.write(fit.checkpoints, name, fit.state.step, state.to_bytes(fit.state), fit.spec.checkpoint.keep)
        except OSError as error:
            self._metrics.checkpoints.labels("failed").inc()
            sentence = f"checkpoint {name} could not be written ({error.strerror}): older ones stand, free some space"
            say(sentence)
            self._gang.report(note=sentence)
        else:
            self._metrics.checkpoints.labels("written").inc()

    def _resume(self) -> bool:
        """Takes the newest sound checkpoint, if there is one."""
        found = checkpoint.newest(self._fit.checkpoints)
        if found is None:
            return False
        taken = f"took {found.name}" if found.name else "there is no other: training begins anew"
        for complaint in found.complaints:
            self._notes.append(f"{complaint}, {taken}")
            say(self._notes[-1])
        if not found.name:
            return False
        state.from_bytes(self._fit.state, found.state)
        say(f"resumed from checkpoint {found.name} at step {found.step}")
        return True

    def _report(self, phase: str, **more: Any) -> None:
        fit = self._fit
        self._gang.report(
            phase=phase,
            step=fit.state.step,
            total_steps=fit.total_steps,
            epoch=fit.sampler.epoch_of(max(0, fit.state.step - 1)) + 1,
            samples_per_second=self._rate,
            best_metric=fit.state.watch.best or 0.0,
            **more,
        )

    def _total(self) -> int:
        return self._fit.total_steps


def say(sentence: str) -> None:
    """One line in the worker's log."""
    print(sentence, flush=True)
