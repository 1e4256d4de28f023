"""Commands that look at jobs and change nothing: `list`, `status`, `wait`."""

from __future__ import annotations

import time

import click

from ringyard_operator.cli.exits import BadInput, NoSuch, TimedOut, Unavailable
from ringyard_operator.cli.options import examples, job_folder, job_name, output_format, shared, state, trouble
from ringyard_operator.cli.output import emit, interactive, listing, table
from ringyard_operator.cli.reading import readable

POLL_SECONDS = 0.2
WATCH_SECONDS = 1.0


@click.command("list", epilog=examples("ringyard list", "ringyard list -o json | jq -r '.items[].metadata.name'"))
@output_format
@shared
def list_jobs(output: str | None) -> None:
    """Show all jobs, one a line."""
    from ringyard_api.loading import to_object

    from ringyard_operator.cli.describe import HEAD, row

    where = state()
    jobs = readable(where.job(name) for name in where.jobs())
    if output:
        emit(listing(to_object(job) for job in jobs), output)
    elif jobs:
        click.echo(table(HEAD, [row(job, time.time()) for job in jobs]), nl=False)
    else:
        click.echo(f"no jobs in {where.root}: `ringyard run FILE` makes one", err=True)


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
@shared
def status(name: str, output: str | None, watch: bool) -> None:
    """Show a job: its state in one sentence, progress, workers, endpoint, conditions.

    With -o the same object that Kubernetes would show is printed: the TrainingJob with its status.
    """
    from ringyard_api.loading import to_object

    from ringyard_operator.cli.describe import finished, screen
    from ringyard_operator.cli.output import render

    shown = ""
    while True:
        folder = job_folder(name)
        job = folder.read()
        text = render(to_object(job), output) if output else screen(job, time.time(), folder.holder())
        if text != shown:
            if watch and interactive() and not output:
                click.clear()
            click.echo(text, nl=False)
            shown = text
        if not watch or finished(job):
            return
        time.sleep(WATCH_SECONDS)


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
        time.sleep(POLL_SECONDS)


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

    folder = job_folder(name)
    job = folder.read()
    condition = describe.find(job.status, kind)
    if condition is not None and condition.status == value:
        return True, ""
    supervisor = folder.holder()
    if describe.finished(job):
        state_now = f"{describe.state_word(job)}: {describe.why(job, supervisor)}"
        raise Unavailable(f"{name} has ended, so condition {kind}={value} will not hold any more ({state_now})")
    return False, f"{name}: {describe.why(job, None)}" if supervisor is None else ""


def _state(name: str) -> str:
    from ringyard_operator.cli.describe import why

    folder = job_folder(name)
    return why(folder.read(), folder.holder())


def _wait_deleted(name: str, deadline: float | None) -> None:
    while True:
        try:
            job_folder(name)
        except NoSuch:
            click.echo(f"{name}: deleted")
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise TimedOut(f"{name}: was not deleted in time: `ringyard delete {name}` deletes it")
        time.sleep(POLL_SECONDS)
