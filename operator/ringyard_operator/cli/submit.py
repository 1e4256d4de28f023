"""`ringyard submit`: checks a manifest as `ringyard run` does, and gives the job to a cluster's operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ringyard_operator.cli.exits import BadInput, Unavailable
from ringyard_operator.cli.manifests import manifest_options, read_job
from ringyard_operator.cli.options import cluster, examples, on_a_cluster, shared

if TYPE_CHECKING:
    from ringyard_api.trainingjob import TrainingJob

    from ringyard_operator.cli.on_cluster import OnCluster

_KEPT = ("name", "namespace", "labels", "annotations")  # of metadata; the rest is the API server's


@click.command(
    epilog=examples(
        "ringyard submit job.yaml",
        "ringyard submit job.yaml --context kind-dev -n team --set spec.workers.replicas=4",
        "cat job.yaml | ringyard submit -",
    )
)
@manifest_options
@on_a_cluster
@shared
def submit(file: str, name: str | None, settings: tuple[str, ...]) -> None:
    """Give the job of a manifest to a cluster where Ringyard is installed, and return at once.

    A job that was stopped goes on; what may change in a job is followed; a finished one is not run again. FILE may be
    `-` for stdin.
    """
    from ringyard_api.defaults import resolve
    from ringyard_api.loading import ManifestError
    from ringyard_api.validation import cluster_problems

    from ringyard_operator.changes import check_same, finished, how_it_ended

    job, plain, source = read_job(file, name, settings)
    if problems := cluster_problems(resolve(job)):
        raise ManifestError(problems, source)
    where = cluster(namespace=job.metadata.namespace)
    if job.metadata.namespace not in ("", where.namespace):
        raise BadInput(f"{source}: metadata.namespace: {job.metadata.namespace} is not --namespace {where.namespace}")
    name, before = job.metadata.name, where.find(job.metadata.name)
    if before is not None:
        old, going = before
        if going:
            again = f"`ringyard wait {name} --for delete{where.flags}`"
            raise Unavailable(f"job {name} is being deleted: submit it again after {again}")
        check_same(resolve(old), resolve(job))
    after = where.apply(_body(plain, resolve(job)))
    if finished(after):
        click.echo(how_it_ended(after))
        return
    click.echo(_sentence(after, where))


def _body(plain: dict[str, Any], job: TrainingJob) -> dict[str, Any]:
    """What the user wrote, and what `scale` and `stop` change said in full: a manifest takes both back."""
    spec = plain["spec"]
    metadata = {key: value for key, value in plain["metadata"].items() if key in _KEPT and value is not None}
    workers = {**(spec.get("workers") or {}), "replicas": job.spec.workers.replicas}
    policy = {**(spec.get("runPolicy") or {}), "suspend": job.spec.run_policy.suspend}
    return {"metadata": metadata, "spec": {**spec, "workers": workers, "runPolicy": policy}}


def _sentence(job: TrainingJob, where: OnCluster) -> str:
    name = job.metadata.name
    if job.spec.run_policy.suspend:
        return f"job {name} waits in {where.place}: set spec.runPolicy.suspend to false and submit it again"
    commands = f"see `ringyard status {name}{where.flags}`, end it with `ringyard stop {name}{where.flags}`"
    return f"job {name} is submitted to {where.place}: {commands}"
