"""`ringyard run`: reads a manifest, submits the job, and trains, gates and serves it, here or in a process of its own.

The supervisor does the work; here are the words around it: what was accepted and has no effect, live progress,
Ctrl-C, and how it ended as an exit code.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringyard_operator.cli.exits import BadInput, CommandError, Exit, Unavailable
from ringyard_operator.cli.manifests import manifest_options, read_job
from ringyard_operator.cli.options import examples, shared, state, trouble
from ringyard_operator.cli.output import interactive
from ringyard_operator.cli.validate import refuse_unsupported

if TYPE_CHECKING:
    from ringyard_api.trainingjob import TrainingJob

    from ringyard_operator.cli.display import Display
    from ringyard_operator.local.folders import StateDir
    from ringyard_operator.local.supervisor import Outcome
    from ringyard_operator.observed import GroupSeen


@click.command(
    epilog=examples(
        "ringyard run examples/digits.yaml",
        "ringyard run job.yaml --name again --set fit.epochs=3 --no-serve",
        "ringyard run job.yaml --set spec.workers.replicas=4 --detach",
        "cat job.yaml | ringyard run -",
    )
)
@manifest_options
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
    job = load(file, name, settings)
    _say_without_effect(job)
    _need_torch(job)
    submitted = submit(where, job)
    for note in submitted.notes:
        click.echo(note)
    job = submitted.job
    if detach and not job.spec.run_policy.suspend:
        _detach(where, job, serve=not no_serve, metrics_port=metrics_port)
    else:
        raise click.exceptions.Exit(_foreground(where, job, serve=not no_serve, metrics_port=metrics_port))


def load(file: str, name: str | None, settings: Sequence[str]) -> TrainingJob:
    """The resolved job of a manifest with its paths absolute. Raises `ManifestError` or `BadInput` with all that is
    wrong.
    """
    from ringyard_api.defaults import resolve

    from ringyard_operator.cli.places import resolve_paths

    job, _, source = read_job(file, name, settings)
    refuse_unsupported([job], source)
    folder = Path.cwd() if file == "-" else Path(file).expanduser().absolute().parent
    return resolve_paths(resolve(job), folder, source)


def _need_torch(job: TrainingJob) -> None:
    """Told here, once, and not by every worker in its log. A `command` brings what it needs."""
    if not job.spec.command and importlib.util.find_spec("torch") is None:
        raise BadInput("PyTorch is not installed here, and workers need it: pip install 'ringyard[local]'")


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
    import asyncio

    from ringyard_operator.cli.display import make_display

    watch = _Watch(where, make_display(interactive()), suspended=job.spec.run_policy.suspend)
    try:
        outcome = asyncio.run(_supervise(where, job.metadata.name, watch, serve=serve, metrics_port=metrics_port))
    finally:
        watch.display.close()
    return _ending(where, outcome, watch)


class _Watch:
    """What the foreground remembers while the supervisor works: Ctrl-C, that the URL was said, the news for the log."""

    def __init__(self, where: StateDir, display: Display, *, suspended: bool) -> None:
        from ringyard_operator.cli.display import News

        self.display, self.suspended = display, suspended  # suspended by its manifest, not by `ringyard stop`
        self.interrupted = False
        self._where, self._trouble = where, trouble()
        self._news = News()
        self._serving = self._trained = False

    def changed(self, job: TrainingJob, group: GroupSeen | None) -> None:
        """The supervisor's `on_change`."""
        from ringyard_operator.cli.describe import finished, holds

        self._trained = finished(job) or (job.status is not None and job.status.model is not None)
        self.display.update(job, group)
        for sentence in self._news.of(job.status):
            self._trouble.log(f"{job.metadata.name}: {sentence}")
        if not self._serving and (holds(job.status, "Published") or holds(job.status, "Succeeded")):
            self._serving = self.say_served(job, "serving {} until Ctrl-C; ask it with:")

    def leaving(self) -> str:
        """Who has to go before the process can end."""
        if self._trained:
            return "the model server answers the requests that it has, and ends"
        return "the workers leave with a checkpoint"

    def say_served(self, job: TrainingJob, sentence: str) -> bool:
        """Says where the job's model is served and how to ask it, once its version is ready."""
        from ringyard_operator.local.endpoint import endpoint_seen

        model = job.status.model if job.status else None
        if job.spec.serve is None or model is None:
            return False
        name = job.spec.serve.endpoint or job.metadata.name
        seen = endpoint_seen(self._where, name, model.digest)
        if seen.version_phase != "READY" or not seen.url:
            return False
        self.display.close()
        self.display.say(sentence.format(f"{name} version {seen.digest_version} at {seen.url}"))
        self.display.say(f"  {_example(name, model.uri or '')}")
        return True


def _example(endpoint: str, uri: str) -> str:
    """A predict command that works as it stands: with a row of the right width, if that can be told."""
    from ringyard_operator.cli.artifacts import manifest_of

    state_option = f" --state-dir {root}" if (root := trouble().state) else ""
    command = f"ringyard predict {endpoint}{state_option}"
    manifest = manifest_of(uri)
    if manifest is None or len(manifest.inputs) != 1 or manifest.inputs[0].datatype == "BYTES":
        return f"{command} --input rows.json"
    width = 1
    for size in manifest.inputs[0].shape[1:]:
        width *= abs(size)
    return f'echo "[[$(seq -s, {width})]]" | {command}'


async def _supervise(where: StateDir, name: str, watch: _Watch, *, serve: bool, metrics_port: int | None) -> Outcome:
    import asyncio

    from ringyard_operator.local.supervisor import supervise

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if watch.interrupted:
            watch.display.close()
            _kill(where, name)
            os._exit(Exit.INTERRUPTED)
        watch.interrupted = True
        stop.set()
        watch.display.say(f"stopping: {watch.leaving()}; Ctrl-C again ends at once")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
            loop.add_signal_handler(number, interrupted)
    return await supervise(where, name, serve=serve, metrics_port=metrics_port, on_change=watch.changed, stop=stop)


def _kill(where: StateDir, name: str) -> None:
    """The second Ctrl-C: everything that this job started ends now, with the checkpoints it has."""
    from ringyard_operator.local.processes import Workers
    from ringyard_operator.local.server import Server

    Workers(where.job(name)).kill_all()
    for endpoint in (where.endpoint(each) for each in where.endpoints()):
        if endpoint.holder() == os.getpid():
            Server(endpoint).kill()


def _ending(where: StateDir, outcome: Outcome, watch: _Watch) -> int:
    """The exit code of a run that is over, with its sentence."""
    from ringyard_operator.local.supervisor import Ending

    job, name = outcome.job, outcome.job.metadata.name
    if outcome.ending is Ending.SUCCEEDED:
        if outcome.served_elsewhere is not None:
            watch.say_served(job, f"process {outcome.served_elsewhere} serves {{}}; ask it with:")
        return Exit.DONE
    if outcome.ending is Ending.FAILED:
        logs = where.job(name).workers
        raise Unavailable(f"job {name} failed: {outcome.message} (logs: `ringyard logs {name}`, or below {logs})")
    if outcome.ending is Ending.DELETED:
        raise CommandError(f"job {name} was deleted while it ran", Exit.INTERRUPTED)
    if watch.suspended:
        click.echo(f"job {name} waits: set spec.runPolicy.suspend to false and run it again")
        return Exit.DONE
    at = f" at step {job.status.step}" if job.status and job.status.step else ""
    how = "was interrupted" if outcome.ending is Ending.STOPPED else "was stopped by `ringyard stop`"
    raise CommandError(f"job {name} {how}{at}: the same `ringyard run` goes on from there", Exit.INTERRUPTED)
