"""Live progress of a job in the foreground: a bar on a terminal, plain lines elsewhere.

`run` makes one and the supervisor's `on_change` feeds it. A change of a condition prints its sentence once; without a
terminal progress is one line at most every two seconds. It prints and remembers what it printed, and decides nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import click
from ringyard_api.jobstatus import Condition, JobStatus
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.cli import describe
from ringyard_operator.cli.output import span
from ringyard_operator.observed import GroupSeen

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 2.0
_NO_NEWS = {("Admitted", "Admitted"), ("Evaluated", "Evaluated")}  # nothing waits, and no gate was set


class Display(Protocol):
    """Shows a job as it goes."""

    def update(self, job: TrainingJob, group: GroupSeen | None) -> None:
        """Takes the newest state; cheap, called several times a second."""

    def say(self, sentence: str) -> None:
        """Prints one line above the progress."""

    def close(self) -> None:
        """Leaves the terminal as it was. Further sentences are printed plainly."""


class News:
    """Which conditions changed since the last look, each as one line."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}
        self._said: set[str] = set()  # since the last news that was more than the summary's

    def of(self, status: JobStatus | None) -> list[str]:
        """The lines that are new, the summary's last. What stopped to hold is news while the job goes on. A job that
        turns to and fro between training and evaluating says each once, until something else happens.
        """
        conditions = status.conditions if status else ()
        over = any(each.type == "Succeeded" and each.status != "Unknown" for each in conditions)
        news = [each for each in conditions if self._is_news(each, over)]
        news.sort(key=lambda each: each.type == "Succeeded")
        lines: list[str] = []
        for at, condition in enumerate(news):
            message = condition.message
            if not message or message in self._said or any(message in later.message for later in news[at + 1 :]):
                continue
            if condition.type != "Succeeded":
                self._said.clear()
            self._said.add(message)
            lines.append(f"{_title(condition.type, condition.status, condition.reason)}: {message}")
        return lines

    def _is_news(self, condition: Condition, over: bool) -> bool:
        """Whether it has changed, and to something that a person would miss."""
        before = self._known.get(condition.type, ("", ""))
        now = self._known[condition.type] = (condition.status, condition.reason)
        if before == now or (condition.type, condition.reason) in _NO_NEWS:
            return False
        return condition.type == "Succeeded" or condition.status != "False" or (not over and before[0] == "True")


def _title(kind: str, status: str, reason: str) -> str:
    if kind == "Succeeded" or status == "Unknown":
        return reason or kind
    return kind if status == "True" else f"not {kind}"


def progress_line(job: TrainingJob, group: GroupSeen | None) -> str:
    """`step 120/500 (24%)  loss 0.1234  850 samples/s  workers 3/3  ETA 12s`; empty before the first step."""
    done, total = steps(job, group)
    if not done:
        return ""
    share = f" ({100 * done // total}%)" if total else ""
    return "  ".join([f"step {done}/{total}{share}" if total else f"step {done}", *facts(job, group)])


def steps(job: TrainingJob, group: GroupSeen | None) -> tuple[int, int]:
    """Steps done and wanted, 0 where unknown: the coordinator's word, which is the newer, before the status."""
    status = job.status
    done = max(group.step if group else 0, (status.step or 0) if status else 0)
    total = (group.total_steps if group else 0) or ((status.total_steps or 0) if status else 0)
    return done, total


def facts(job: TrainingJob, group: GroupSeen | None) -> list[str]:
    """Loss, speed, workers and time left, those that are known."""
    status = job.status
    loss = group.loss if group and group.loss is not None else (status.loss if status else None)
    rate = (
        group.samples_per_second
        if group and group.samples_per_second
        else (status.samples_per_second if status else None)
    )
    left = span(status.eta_seconds) if status else ""
    known = [f"loss {describe.loss_text(loss)}" if loss is not None else "", describe.rate_text(rate)]
    known += [f"workers {describe.workers_text(job)}", f"ETA {left}" if left else ""]
    return [fact for fact in known if fact]


class PlainDisplay:
    """Lines for a log: what a pipe or a file gets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._news, self._clock = News(), clock
        self._step, self._next = 0, 0.0

    def update(self, job: TrainingJob, group: GroupSeen | None) -> None:
        for sentence in self._news.of(job.status):
            self.say(sentence)
        step, _ = steps(job, group)
        if step != self._step and self._clock() >= self._next and not describe.finished(job):
            self._step, self._next = step, self._clock() + SECONDS_BETWEEN_LINES
            self.say(progress_line(job, group))

    def say(self, sentence: str) -> None:
        _print(sentence)

    def close(self) -> None:
        return


class LiveDisplay:
    """A bar that is drawn again, with the sentences above it."""

    def __init__(self) -> None:
        self._news = News()
        self._bar: tuple[Progress, TaskID] | None = None
        self._closed = False

    def update(self, job: TrainingJob, group: GroupSeen | None) -> None:
        for sentence in self._news.of(job.status):
            self.say(sentence)
        done, total = steps(job, group)
        if self._closed or (not done and self._bar is None):
            return
        progress, task = self._bar = self._bar or self._draw(job.metadata.name)
        text = "  ".join(facts(job, group))
        progress.update(task, completed=done, total=total or None, facts=text, count=f"{done}/{total or '?'}")
        if describe.finished(job) or (total and done >= total):
            self.close()

    def say(self, sentence: str) -> None:
        if self._bar is not None and not self._closed:
            with contextlib.suppress(OSError):
                self._bar[0].console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        else:
            _print(sentence)

    def close(self) -> None:
        self._closed = True
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar[0].stop()

    def _draw(self, name: str) -> tuple[Progress, TaskID]:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}  {task.fields[facts]}"),
        )
        progress = Progress(*columns, refresh_per_second=5)
        task = progress.add_task(name, total=None, facts="", count="")
        progress.start()
        return progress, task


def _print(sentence: str) -> None:
    """A reader that has gone (`| head`, a closed terminal) is no reason to end a training."""
    with contextlib.suppress(OSError):
        click.echo(sentence)


def make_display(interactive: bool) -> Display:
    """The display for this output."""
    return LiveDisplay() if interactive else PlainDisplay()
