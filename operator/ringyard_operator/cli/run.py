"""`ringyard run`: reads a manifest, submits the job, and trains, gates and serves it, here or in a process of its own.

The supervisor does the work; here are the words around it: what was accepted and has no effect, live progress,
Ctrl-C, and how it ended as an exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringyard_operator.cli.exits import BadInput, CommandError, Exit, Unavailable
from ringyard_operator.cli.options import examples, shared, state, trouble
from ringyard_operator.cli.output import interactive
from ringyard_operator.cli.validate import read_manifest

if TYPE_CHECKING:
    from ringyard_api.trainingjob import TrainingJob

    from ringyard_operator.cli.display import Display
    from ringyard_operator.local.folders import StateDir
    from ringyard_operator.observed import GroupSeen


@click.command(
    epilog=examples(
        "ringyard run examples/digits.yaml",
        "ringyard run job.yaml --name again --set fit.epochs=3 --no-serve",
        "ringyard run job.yaml --set spec.workers.replicas=4 --detach",
        "cat job.yaml | ringyard run -",
    )
)
@click.argument("file", metavar="FILE")
@click.option("--name", metavar="N", help="Name of the job, instead of metadata.name.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set a field of the manifest before it is checked; may be repeated. The value is YAML; a path that does not "
    "begin with spec or metadata is meant below spec.",
)
@click.option(
    "--detach", is_flag=True, help="Return at once; the job goes on by itself (`ringyard status`, `logs`, `wait`)."
)
@click.option("--no-serve", is_flag=True, help="End after the gate, serve nothing.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="P",
    help="Serve /metrics of this job here; 0 takes a free port.",
)
@shared
def run(
    file: str, name: str | None, settings: tuple[str, ...], detach: bool, no_serve: bool, metrics_port: int | None
) -> None:
    """Train the job of a manifest on this machine, check it against its gate, and serve it.

    In the foreground it shows live progress and, after publishing, serves until Ctrl-C. A job that was stopped, or
    whose supervisor died, goes on from where it was; a finished one is not run again. FILE may be `-` for stdin.
    """
    from ringyard_operator.local.submit import submit

    where = state()
    job = load(file, name, settings, without_serve=no_serve)
    _say_without_effect(job)
    submitted = submit(where, job)
    for note in submitted.notes:
        click.echo(note)
    job = submitted.job
    if detach:
        _detach(where, job, serve=not no_serve, metrics_port=metrics_port)
    else:
        raise click.exceptions.Exit(_foreground(where, job, serve=not no_serve, metrics_port=metrics_port))


def load(file: str, name: str | None, settings: Sequence[str], *, without_serve: bool = False) -> TrainingJob:
    """The resolved job of a manifest with its paths absolute. Raises `ManifestError` or `BadInput` with all that is
    wrong.
    """
    from ringyard_api.defaults import resolve
    from ringyard_api.loading import ManifestError, from_object, load_job
    from ringyard_api.trainingjob import TrainingJob as Job
    from ringyard_api.validation import unsupported

    from ringyard_operator.cli.overrides import apply
    from ringyard_operator.cli.places import resolve_paths

    text, source = read_manifest(file)
    wanted = [*settings, *([f"metadata.name={name}"] if name else [])]
    if wanted:
        loaded = from_object(apply(_plain(text, source), wanted, _value), source)
        if not isinstance(loaded, Job):
            raise BadInput(f"{source}: holds a {loaded.kind}, `ringyard run` wants a TrainingJob")
        job = loaded
    else:
        job = load_job(text, source)
    problems = unsupported(job)
    if problems:
        raise ManifestError(problems, source)
    folder = Path.cwd() if file == "-" else Path(file).expanduser().absolute().parent
    return resolve_paths(resolve(job), folder, source)


def _plain(text: str, source: str) -> dict[str, Any]:
    """The one mapping that a manifest holds, not checked yet."""
    from ringyard_api.loading import parse_yaml

    documents = parse_yaml(text, source)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadInput(f"{source}: `--set` and `--name` want a file with exactly one TrainingJob")
    return documents[0]


def _value(text: str) -> Any:
    from ringyard_api.loading import parse_yaml

    documents = parse_yaml(text, "--set")
    return documents[0] if documents else None


def _say_without_effect(job: TrainingJob) -> None:
    from ringyard_api.validation import cluster_only

    paths = cluster_only(job)
    if paths:
        click.echo(
            f"{', '.join(paths)}: only a cluster honours {'this' if len(paths) == 1 else 'these'}, no effect here"
        )


def _detach(where: StateDir, job: TrainingJob, *, serve: bool, metrics_port: int | None) -> None:
    from ringyard_operator.local.supervisor import detach

    name = job.metadata.name
    pid = detach(where, name, serve=serve, metrics_port=metrics_port)
    click.echo(f"job {name} runs in process {pid}: see `ringyard status {name}`, end it with `ringyard stop {name}`")


def _foreground(where: StateDir, job: TrainingJob, *, serve: bool, metrics_port: int | None) -> int:
    """Supervises in this process, and says how it ended."""
    from ringyard_operator.cli.display import make_display

    display = make_display(interactive())
    watch = _Watch(display)
    try:
        asyncio.run(_supervise(where, job.metadata.name, watch, serve=serve, metrics_port=metrics_port))
    finally:
        display.close()
    return _ending(where, job.metadata.name, watch)


class _Watch:
    """What the foreground remembers while the supervisor works: Ctrl-C, and that the URL was said."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.interrupted = False
        self._said_url = ""

    def changed(self, job: TrainingJob, group: GroupSeen | None) -> None:
        """The supervisor's `on_change`."""
        from ringyard_operator.cli.describe import holds

        self.display.update(job, group)
        endpoint = job.status.endpoint if job.status else None
        if endpoint is None or not endpoint.url or not holds(job.status, "Published") or endpoint.url == self._said_url:
            return
        self._said_url = endpoint.url
        self.display.close()
        self.display.say(
            f"serving {endpoint.name} version {endpoint.version} at {endpoint.url} until Ctrl-C; ask it with:"
        )
        self.display.say(f"  {_example(job)}")


def _example(job: TrainingJob) -> str:
    """A predict command that works as it stands: with rows of the right width, if that can be told."""
    from ringyard_operator.cli.artifacts import manifest_of

    assert job.status is not None and job.status.endpoint is not None
    state_option = f" --state-dir {root}" if (root := trouble().state) else ""
    command = f"ringyard predict {job.status.endpoint.name}{state_option}"
    manifest = manifest_of(job.status.model.uri) if job.status.model else None
    if manifest is None or len(manifest.inputs) != 1 or manifest.inputs[0].datatype == "BYTES":
        return f"{command} --input rows.json"
    width = 1
    for size in manifest.inputs[0].shape[1:]:
        width *= abs(size)
    return f'echo "[[$(seq -s, {width})]]" | {command}'


async def _supervise(where: StateDir, name: str, watch: _Watch, *, serve: bool, metrics_port: int | None) -> None:
    from ringyard_operator.local.supervisor import supervise

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if watch.interrupted:
            watch.display.close()
            _kill(where, name)
            os._exit(Exit.INTERRUPTED)
        watch.interrupted = True
        watch.display.say("stopping: the workers leave with a checkpoint; Ctrl-C again ends at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    await supervise(where, name, serve=serve, metrics_port=metrics_port, on_change=watch.changed, stop=stop)


def _kill(where: StateDir, name: str) -> None:
    """The second Ctrl-C: everything that this job started ends now, with the checkpoints it has."""
    from ringyard_operator.local.processes import Workers
    from ringyard_operator.local.remove import read_identity

    Workers(where.job(name)).kill_all()
    for endpoint in (where.endpoint(each) for each in where.endpoints()):
        identity = read_identity(endpoint.server_file) if endpoint.holder() == os.getpid() else None
        if identity is not None:
            identity.signal(signal.SIGKILL)


def _ending(where: StateDir, name: str, watch: _Watch) -> int:
    """The exit code of a run that is over, with its sentence."""
    from ringyard_operator.cli.describe import find, finished, why

    folder = where.job(name)
    if not folder.exists():
        raise CommandError(f"job {name!r} was deleted while it ran", Exit.INTERRUPTED)
    job = folder.read()
    summary = find(job.status, "Succeeded")
    if finished(job) and summary is not None:
        if summary.status == "True":
            return Exit.DONE
        raise Unavailable(
            f"job {name} failed: {summary.message} (logs: `ringyard logs {name}`, {folder.path / 'workers'})"
        )
    at = f" at step {job.status.step}" if job.status and job.status.step else ""
    if watch.interrupted:
        raise CommandError(
            f"job {name} was interrupted{at}: the same `ringyard run` goes on from there", Exit.INTERRUPTED
        )
    raise CommandError(f"job {name} stopped{at}: {why(job, None)}", Exit.INTERRUPTED)
