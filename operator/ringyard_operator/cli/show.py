"""Commands that look at jobs and change nothing: `list`, `status`, `wait`."""

from __future__ import annotations

import time

import click

from ringyard_operator.cli.exits import BadInput, NoSuch, TimedOut, Unavailable
from ringyard_operator.cli.options import examples, job_name, on_a_cluster, output_format, shared, source, trouble
from ringyard_operator.cli.output import emit, interactive, listing, table

_WATCH_SECONDS = 1.0
_LOOK_SECONDS = 10.0  # at the latest, however quiet it is


@click.command("list", epilog=examples("ringyard list", "ringyard list -o json | jq -r '.items[].metadata.name'"))
@output_format
@on_a_cluster
@shared
def list_jobs(output: str | None) -> None:
    """Show all jobs, one a line."""
    from ringyard_api.loading import to_object

    from ringyard_operator.cli.describe import HEAD, row

    where = source()
    jobs = where.jobs()
    if output:
        emit(listing(to_object(job) for job in jobs), output)
    elif jobs:
        click.echo(table(HEAD, [row(job, time.time()) for job in jobs]), nl=False)
    else:
        click.echo(f"no jobs in {where.place}: `{where.makes} FILE` makes one", err=True)


@click.command(
    epilog=examples(
        "ringyard status digits",
        "ringyard status digits --watch",
        "ringyard status digits -o json | jq .status.progress",
    )
)
@job_name
@output_format
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever it changes, until the job ends.")
@on_a_cluster
@shared
def status(name: str, output: str | None, watch: bool) -> None:
    """Show a job: its state in one sentence, progress, workers, endpoint, conditions.

    With -o the same object that Kubernetes would show is printed: the TrainingJob with its status.
    """
    from ringyard_api.loading import to_object

    from ringyard_operator.cli.describe import finished, screen
    from ringyard_operator.cli.output import render

    shown = ""
    where = source()
    while True:
        job = where.job(name)
        text = render(to_object(job), output) if output else screen(job, time.time(), where.care(job))
        if text != shown:
            if watch and interactive() and not output:
                click.clear()
            click.echo(text, nl=False)
            shown = text
        if not watch or finished(job):
            return
        where.pause(name, _WATCH_SECONDS)


@click.command(
    epilog=examples(
        "ringyard wait digits --for Succeeded",
        "ringyard wait digits --for Running --timeout 60",
        "ringyard wait digits --for condition=Degraded=False",
        "ringyard wait digits --for delete",
    )
)
@job_name
@click.option(
    "--for",
    "wanted",
    required=True,
    metavar="CONDITION",
    help="Type of a condition, such as Succeeded, Running, Published; `condition=TYPE=STATUS` as kubectl writes it; "
    "or `delete`.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait at most (default: no limit)."
)
@on_a_cluster
@shared
def wait(name: str, wanted: str, timeout: float | None) -> None:
    """Wait until a job's condition holds, like `kubectl wait`.

    Exit 0 when it holds, 1 as soon as it cannot hold any more because the job has ended, 3 for no such job, 4 after S
    seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if wanted == "delete":
        _wait_deleted(name, deadline)
        return
    kind, value = parse_condition(wanted)
    told = False
    while True:
        held, sentence = _look(name, kind, value)
        if held:
            click.echo(f"{name}: condition {kind}={value} holds")
            return
        if sentence and not told:
            told = True
            trouble().say(sentence)
        if deadline is not None and time.monotonic() >= deadline:
            raise TimedOut(f"{name}: condition {kind}={value} did not hold within {timeout:g} s: {_state(name)}")
        _pause(name, deadline)


def parse_condition(text: str) -> tuple[str, str]:
    """`Succeeded`, `condition=Succeeded` or `condition=Failed=True` as type and status. Raises `BadInput`."""
    parts = text.removeprefix("condition=").split("=")
    kind, value = parts[0].strip(), (parts[1].strip().capitalize() if len(parts) == 2 else "True")
    if not kind or len(parts) > 2 or value not in ("True", "False", "Unknown"):
        raise BadInput(
            f"--for {text}: must be a condition's type, such as Succeeded, or condition=TYPE=True|False|Unknown"
        )
    from ringyard_api.reasons import ConditionType

    known = {str(each).lower(): str(each) for each in ConditionType if each is not ConditionType.AVAILABLE}
    if kind.lower() not in known:
        raise BadInput(f"--for {text}: no job has a condition {kind!r}: there are {', '.join(known.values())}")
    return known[kind.lower()], value


def _look(name: str, kind: str, value: str) -> tuple[bool, str]:
    """Whether the condition holds, and a remark. Raises `Unavailable` when it never will."""
    from ringyard_operator.cli import describe

    job = source().job(name)
    condition = describe.find(job.status, kind)
    if condition is not None and condition.status == value:
        return True, ""
    care = source().care(job)
    if describe.finished(job):
        state_now = f"{describe.state_word(job)}: {describe.why(job, care)}"
        raise Unavailable(f"{name} has ended, so condition {kind}={value} will not hold any more ({state_now})")
    return False, "" if care.alive else f"{name}: {describe.why(job, care)}"


def _state(name: str) -> str:
    from ringyard_operator.cli.describe import why

    job = source().job(name)
    return why(job, source().care(job))


def _wait_deleted(name: str, deadline: float | None) -> None:
    while True:
        try:
            source().job(name)
        except NoSuch:
            click.echo(f"{name}: deleted")
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise TimedOut(f"{name}: was not deleted in time: `ringyard delete {name}{source().flags}` deletes it")
        _pause(name, deadline)


def _pause(name: str, deadline: float | None) -> None:
    source().pause(name, _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic()))
