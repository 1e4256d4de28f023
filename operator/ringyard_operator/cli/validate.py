"""`ringyard validate`: checks manifests and prints them with every default in its place. Starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ringyard_operator.cli.exits import BadInput
from ringyard_operator.cli.options import examples, output_format, shared


@click.command(
    epilog=examples(
        "ringyard validate job.yaml",
        "ringyard validate job.yaml -o yaml",
        "ringyard validate a.yaml b.yaml",
        "cat job.yaml | ringyard validate -",
    )
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_format
@shared
def validate(files: tuple[str, ...], output: str | None) -> None:
    """Check manifests. All problems of all files are said at once.

    With -o the resolved manifests are printed: what you wrote, with every default in its place.
    """
    from ringyard_api.loading import ManifestError, load_manifests

    found: list[Any] = []
    problems: list[str] = []
    for file in files:
        text, source = read_manifest(file)
        try:
            manifests = load_manifests(text, source)
            refuse_unsupported(manifests, source)
        except ManifestError as error:
            problems.append(str(error))
            continue
        found.extend(manifests)
        if not output:
            for manifest in manifests:
                click.echo(f"{source}: {manifest.kind} {manifest.metadata.name} is valid")
    if problems:
        raise BadInput("\n".join(problems))
    if output:
        click.echo(_resolved(found, output), nl=False)


def refuse_unsupported(manifests: Sequence[Any], source: str) -> None:
    """Raises `ManifestError` for fields whose behaviour does not exist yet: nothing is silently ignored."""
    from ringyard_api.loading import ManifestError
    from ringyard_api.trainingjob import TrainingJob
    from ringyard_api.validation import unsupported

    problems = [each for job in manifests if isinstance(job, TrainingJob) for each in unsupported(job)]
    if problems:
        raise ManifestError(problems, source)


def read_manifest(file: str) -> tuple[str, str]:
    """Text of a manifest and the name to call it in messages; `-` is stdin. Raises `BadInput`."""
    source = "<stdin>" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
        return data.decode("utf-8"), source
    except OSError as error:
        raise BadInput(f"{source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{source}: is not UTF-8 text at byte {error.start}: save the manifest as UTF-8") from error


def _resolved(manifests: list[Any], output: str) -> str:
    from ringyard_api.defaults import resolve
    from ringyard_api.loading import to_object
    from ringyard_api.trainingjob import TrainingJob

    from ringyard_operator.cli.output import listing, render

    plain = [to_object(resolve(each) if isinstance(each, TrainingJob) else each) for each in manifests]
    if output == "yaml":
        return "---\n".join(render(each, "yaml") for each in plain)
    return render(plain[0] if len(plain) == 1 else listing(plain), "json")
