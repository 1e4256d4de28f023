"""The one job of a manifest as `run` and `submit` take it: from a file or stdin, renamed and edited by options.

It checks what can be checked without a place to run; what a place cannot do is the commands' business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringyard_operator.cli.exits import BadInput
from ringyard_operator.cli.validate import read_manifest

if TYPE_CHECKING:
    from ringyard_api.trainingjob import TrainingJob

F = TypeVar("F", bound=Callable[..., Any])


def manifest_options(command: F) -> F:
    """Adds FILE, `--name` and `--set`."""
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="PATH=VALUE",
        help="Set a field of the manifest before it is checked; may be repeated. The value is YAML; a path that does "
        "not begin with spec or metadata is meant below spec.",
    )(command)
    command = click.option("--name", metavar="N", help="Name of the job, instead of metadata.name.")(command)
    return click.argument("file", metavar="FILE")(command)


def read_job(file: str, name: str | None, settings: Sequence[str]) -> tuple[TrainingJob, dict[str, Any], str]:
    """The job without defaults, the same as plain data, and what to call the file.

    Raises `ManifestError` or `BadInput` with all that is wrong.
    """
    from ringyard_api.loading import from_object, load_job
    from ringyard_api.trainingjob import TrainingJob as Job

    from ringyard_operator.cli.overrides import apply

    text, source = read_manifest(file)
    wanted = [*settings, *([f"metadata.name={name}"] if name else [])]
    if not wanted:
        return load_job(text, source), _plain(text, source), source
    plain = apply(_plain(text, source), wanted, _value)
    job = from_object(plain, source)
    if not isinstance(job, Job):
        raise BadInput(f"{source}: holds a {job.kind}, a TrainingJob is wanted")
    return job, plain, source


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
