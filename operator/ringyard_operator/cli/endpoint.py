"""Commands for what serves: `endpoints`, `endpoint delete`, `predict`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringyard_operator.cli.exits import BadInput, CommandError, Exit
from ringyard_operator.cli.options import (
    endpoint_name,
    examples,
    on_a_cluster,
    output_format,
    patience,
    shared,
    source,
)
from ringyard_operator.cli.output import emit, listing, table

if TYPE_CHECKING:
    from ringyard_api.modelendpoint import ModelEndpoint

    from ringyard_operator.predict import Prediction, PredictionError

HEAD = ("NAME", "STATE", "VERSION", "VERSIONS", "URL")


@click.command(epilog=examples("ringyard endpoints", "ringyard endpoints -o json | jq -r '.items[].status.url'"))
@output_format
@on_a_cluster
@shared
def endpoints(output: str | None) -> None:
    """Show what serves: every ModelEndpoint with its versions and URL."""
    from ringyard_api.loading import to_object

    where = source()
    served = where.endpoints()
    if output:
        emit(listing(to_object(each) for each in served), output)
    elif served:
        rows = [_row(each, where.served(each)) for each in served]
        click.echo(table(HEAD, rows), nl=False)
    else:
        click.echo(f"no endpoints in {where.place}: a job with a `serve` block makes one", err=True)


@click.group(epilog=examples("ringyard endpoint delete digits"))
@shared
def endpoint() -> None:
    """Change a ModelEndpoint."""


@endpoint.command("delete", epilog=examples("ringyard endpoint delete digits"))
@endpoint_name
@patience
@on_a_cluster
@shared
def delete_endpoint(name: str, timeout: float) -> None:
    """Stop serving and remove an endpoint. The jobs and their models stay."""
    source().delete_endpoint(name, timeout)
    click.echo(f"endpoint {name}: deleted")


@click.command(
    epilog=examples(
        "ringyard predict iris --input rows.json",
        "echo '[[5.1, 3.5, 1.4, 0.2]]' | ringyard predict iris",
        "ringyard predict iris --input rows.jsonl --version 2 -o json",
    )
)
@endpoint_name
@click.option(
    "-i",
    "--input",
    "rows_file",
    default="-",
    metavar="FILE",
    help="Rows of raw features: a JSON list of rows, or one row a line; a row is a list, or an object by "
    "feature name. `-` (the default) reads stdin.",
)
@click.option(
    "--version", "version", default="", metavar="V", help="This version of the endpoint, instead of the one it chooses."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for each answer.",
)
@output_format
@on_a_cluster
@shared
def predict(name: str, rows_file: str, version: str, timeout: float, output: str | None) -> None:
    """Ask a served model: raw features in, predictions out. NAME is a ModelEndpoint (`ringyard endpoints`)."""
    from ringyard_operator.predict import Client, PredictionError, parse_rows

    where = source()
    served = where.endpoint(name)

    def question(address: str) -> Prediction:
        with Client(address, timeout=timeout) as client:
            return client.predict(name, rows, version=version)

    try:
        rows = parse_rows(_read(rows_file))
        answer = where.ask(served, question)
    except PredictionError as error:
        raise _translated(error) from error
    _print_answer(answer, output)


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise BadInput(f"--input {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"--input {file}: is not UTF-8 text: rows are JSON") from error


def _translated(error: PredictionError) -> CommandError:
    from ringyard_operator.predict import Fault

    codes = {Fault.ROWS: Exit.BAD_INPUT, Fault.UNKNOWN: Exit.NO_SUCH, Fault.TIMEOUT: Exit.TIMED_OUT}
    return CommandError(str(error), codes.get(error.fault, Exit.JOB_FAILED))


def _print_answer(answer: Prediction, output: str | None) -> None:
    if output:
        emit(
            {"model": answer.model, "version": answer.version, "predictions": [dict(row) for row in answer.rows]},
            output,
        )
        return
    rows = [_cells(row) for row in answer.rows]
    click.echo(table([name.upper() for name in rows[0]], [list(row.values()) for row in rows]), nl=False)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of one row for a human: of the probabilities the highest, everything else as it is."""
    cells = {}
    for name, value in sorted(row.items(), key=lambda item: item[0] != "label"):
        if name == "probabilities" and isinstance(value, list) and value:
            cells["probability"] = f"{max(value):.4f}"
        elif isinstance(value, list):
            cells[name] = ", ".join(_text(each) for each in value)
        else:
            cells[name] = _text(value)
    return cells


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(served: ModelEndpoint, alive: bool) -> list[str]:
    spec, status = served.spec, served.status
    versions = ",".join(str(each.version) for each in spec.versions)
    if not alive:
        return [served.metadata.name, "NotServed", "", versions, ""]
    url = status.url if status and status.url else ""
    current = _current(served)
    return [served.metadata.name, "Serving" if url and current else "Starting", current, versions, url]


def _current(served: ModelEndpoint) -> str:
    """The newest version that is ready."""
    ready = (
        [each.version for each in served.status.versions if str(each.phase).upper() == "READY"] if served.status else []
    )
    return str(max(ready, key=int)) if ready else ""
