"""Commands that change a job: `scale`, `stop`, `delete`. They write what is wanted; the job's supervisor follows it."""

from __future__ import annotations

import time

import click

from ringyard_operator.cli.exits import TimedOut
from ringyard_operator.cli.options import examples, job_folder, job_name, patience, shared, state

POLL_SECONDS = 0.1


@click.command(epilog=examples("ringyard scale digits --replicas 4"))
@job_name
@click.option(
    "--replicas", type=int, required=True, metavar="N", help="Workers wanted, within minReplicas and maxReplicas."
)
@shared
def scale(name: str, replicas: int) -> None:
    """Change the number of workers while the job trains. The others do not stop for it, and no step is lost."""
    from ringyard_operator.local.submit import set_replicas

    before = job_folder(name).read().spec.workers.replicas
    set_replicas(state(), name, replicas)
    click.echo(f"job {name}: replicas {before} -> {replicas}")


@click.command(epilog=examples("ringyard stop digits", "ringyard stop digits --timeout 120"))
@job_name
@patience
@shared
def stop(name: str, timeout: float) -> None:
    """Stop a job with a checkpoint and wait until its workers are gone. `ringyard run` of its manifest goes on."""
    from ringyard_operator.local.remove import stop_workers
    from ringyard_operator.local.submit import finished, suspend

    folder = job_folder(name)
    suspend(state(), name)
    deadline = time.monotonic() + timeout
    while folder.holder() is not None:  # its supervisor ends when the workers are gone, and `run` may follow at once
        if time.monotonic() >= deadline:
            raise TimedOut(f"job {name} still has workers after {timeout:g} s: see `ringyard status {name}`")
        time.sleep(POLL_SECONDS)
    with folder.lock():  # what runs without a supervisor is ended here
        stop_workers(folder)
    job = folder.read()
    if finished(job):
        click.echo(f"job {name}: has ended by itself meanwhile, see `ringyard status {name}`")
        return
    at = f" at step {job.status.step}" if job.status and job.status.step else ""
    click.echo(f"job {name}: stopped{at}; `ringyard run` with its manifest goes on from there")


@click.command(epilog=examples("ringyard delete digits"))
@job_name
@patience
@shared
def delete(name: str, timeout: float) -> None:
    """Stop a job and remove it with its logs and checkpoints. An endpoint that it published into goes on serving."""
    from ringyard_operator.errors import AlreadyRunning
    from ringyard_operator.local.remove import delete_job

    job_folder(name)
    try:
        delete_job(state(), name, timeout=timeout)
    except AlreadyRunning as error:
        sentence = f"job {name} still has workers after {timeout:g} s (process {error.pid} looks after it)"
        raise TimedOut(f"{sentence}: see `ringyard status {name}`") from error
    click.echo(f"job {name}: deleted")
