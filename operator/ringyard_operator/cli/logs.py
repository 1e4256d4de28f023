"""`ringyard logs`: what the workers printed, each line with its worker's number before it."""

from __future__ import annotations

import click

from ringyard_operator.cli.options import examples, job_name, on_a_cluster, shared, source


@click.command(
    epilog=examples("ringyard logs digits", "ringyard logs digits --worker 0", "ringyard logs digits --follow")
)
@job_name
@click.option("--worker", type=click.IntRange(min=0), metavar="I", help="Only this worker.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@on_a_cluster
@shared
def logs(name: str, worker: int | None, follow: bool) -> None:
    """Print what the workers of a job printed; `[1]` before a line says that worker 1 did."""
    source().logs(name, worker, follow, click.echo)
