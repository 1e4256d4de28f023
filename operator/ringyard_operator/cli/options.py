"""What every command shares: its options `--state-dir` and `--debug`, its examples in `--help`, and the state it opens.

Used by all modules of the command line to declare commands. Importing it is cheap: what is heavy is imported when used.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringyard_operator.cli.exits import BadInput, NoSuch
from ringyard_operator.cli.trouble import Trouble

if TYPE_CHECKING:
    from ringyard_operator.local.folders import EndpointFolder, JobFolder, StateDir

F = TypeVar("F", bound=Callable[..., Any])
STATE_VARIABLE = "RINGYARD_STATE_DIR"


def examples(*lines: str) -> str:
    """The end of a command's `--help`: lines that a user may type as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _keep_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        trouble(context).debug = True


def _keep_state(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        trouble(context).state = value.expanduser().absolute()
    return value


def shared(command: F) -> F:
    """Adds `--state-dir` and `--debug`. The function gets neither: `state()` and `trouble()` give what they chose."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_keep_debug,
        help="With a failure print the traceback too, and write it to STATE/ringyard.log.",
    )(command)
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=True),
        envvar=STATE_VARIABLE,
        metavar="D",
        expose_value=False,
        is_eager=True,
        callback=_keep_state,
        help="Folder of all jobs and endpoints (default: $XDG_STATE_HOME/ringyard; also $RINGYARD_STATE_DIR).",
    )(command)


def patience(command: F) -> F:
    """Adds `--timeout`, of commands that ask for an end and wait for it."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Seconds to wait at most.",
    )(command)


def trouble(context: click.Context | None = None) -> Trouble:
    """What this call of the command line says trouble with."""
    return (context or click.get_current_context()).ensure_object(Trouble)


def state() -> StateDir:
    """The state folder that this call was given, or the default one."""
    from ringyard_operator.local.folders import StateDir

    root = trouble().state
    return StateDir(root) if root is not None else StateDir.default()


def job_folder(name: str) -> JobFolder:
    """The folder of a job that exists; else exit 3 with the nearest known name."""
    where = state()
    if not where.job(_safe(name, "job")).exists():
        raise NoSuch(f"no job {name!r} in {where.root}{_near(name, where.jobs())}: `ringyard list` shows all")
    return where.job(name)


def endpoint_folder(name: str) -> EndpointFolder:
    """The folder of a ModelEndpoint that exists; else exit 3 with the nearest known name."""
    where = state()
    if not where.endpoint(_safe(name, "endpoint")).exists():
        near = _near(name, where.endpoints())
        raise NoSuch(f"no endpoint {name!r} in {where.root}{near}: `ringyard endpoints` shows all")
    return where.endpoint(name)


def _safe(name: str, kind: str) -> str:
    """A name is a folder's name too: what can be no name at all is refused before any path is made of it."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise BadInput(f"{name!r} is no name of a {kind}: names are lower-case letters, digits and dashes")
    return name


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def complete_job(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of jobs for the shell's completion."""
    return _complete(context, incomplete, endpoints=False)


def complete_endpoint(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of endpoints for the shell's completion."""
    return _complete(context, incomplete, endpoints=True)


def _complete(context: click.Context, incomplete: str, *, endpoints: bool) -> list[str]:
    from ringyard_operator.local.folders import StateDir

    root = trouble(context).state
    where = StateDir(root) if root is not None else StateDir.default()
    return [name for name in (where.endpoints() if endpoints else where.jobs()) if name.startswith(incomplete)]


job_name = click.argument("name", metavar="NAME", shell_complete=complete_job)
endpoint_name = click.argument("name", metavar="NAME", shell_complete=complete_endpoint)
output_format = click.option(
    "-o", "--output", type=click.Choice(("json", "yaml")), help="Print the whole object instead."
)
