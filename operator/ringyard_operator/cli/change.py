"""Commands that change a job: `scale`, `stop`, `delete`. They write what is wanted; who looks after it follows."""

from __future__ import annotations

import click

from ringyard_operator.cli.options import examples, job_name, on_a_cluster, patience, shared, source


@click.command(epilog=examples("ringyard scale digits --replicas 4"))
@job_name
@click.option(
    "--replicas", type=int, required=True, metavar="N", help="Workers wanted, within minReplicas and maxReplicas."
)
@on_a_cluster
@shared
def scale(name: str, replicas: int) -> None:
    """Change the number of workers while the job trains. The others do not stop for it, and no step is lost."""
    before = source().scale(name, replicas)
    click.echo(f"job {name}: replicas {before} -> {replicas}")


@click.command(epilog=examples("ringyard stop digits", "ringyard stop digits --timeout 120"))
@job_name
@patience
@on_a_cluster
@shared
def stop(name: str, timeout: float) -> None:
    """Stop a job with a checkpoint and wait until its workers are gone. `ringyard run` of its manifest goes on."""
    from ringyard_operator.changes import finished

    where = source()
    job = where.stop(name, timeout)
    if finished(job):
        click.echo(f"job {name}: has ended by itself meanwhile, see `ringyard status {name}{where.flags}`")
        return
    at = f" at step {job.status.step}" if job.status and job.status.step else ""
    click.echo(f"job {name}: stopped{at}; `{where.makes}` with its manifest goes on from there")


@click.command(epilog=examples("ringyard delete digits"))
@job_name
@patience
@on_a_cluster
@shared
def delete(name: str, timeout: float) -> None:
    """Stop a job and remove it with its logs and checkpoints. An endpoint that it published into goes on serving."""
    source().delete(name, timeout)
    click.echo(f"job {name}: deleted")
