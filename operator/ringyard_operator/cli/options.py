"""What commands share: their options, their examples in `--help`, and the source of jobs and endpoints that was chosen.

Used by all modules of the command line to declare commands. Importing it is cheap: what is heavy is imported when used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ringyard_operator.cli.exits import CommandError
from ringyard_operator.cli.trouble import Trouble

if TYPE_CHECKING:
    from ringyard_operator.cli.on_cluster import OnCluster
    from ringyard_operator.cli.sources import Source
    from ringyard_operator.local.folders import StateDir

F = TypeVar("F", bound=Callable[..., Any])
STATE_VARIABLE = "RINGYARD_STATE_DIR"
CONTEXT_VARIABLE = "RINGYARD_CONTEXT"
_CHOICE, _SOURCE = "ringyard.choice", "ringyard.source"  # in click's context


@dataclass(kw_only=True)
class Choice:
    """Which cluster the options name, if they name one. `said`: on the command line, which beats the environment."""

    context: str | None = None
    namespace: str | None = None
    kubeconfig: Path | None = None
    said: bool = False
    state_said: bool = False

    @property
    def cluster(self) -> bool:
        """Whether a cluster was chosen."""
        return self.said or (self.context is not None and not self.state_said)


def examples(*lines: str) -> str:
    """The end of a command's `--help`: lines that a user may type as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _keep_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        trouble(context).debug = True


def _keep_state(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        trouble(context).state = value.expanduser().absolute()
        _choice(context).state_said = context.get_parameter_source("state_dir") is ParameterSource.COMMANDLINE
    return value


def _choice(context: click.Context | None = None) -> Choice:
    choice = (context or click.get_current_context()).meta.setdefault(_CHOICE, Choice())
    assert isinstance(choice, Choice)
    return choice


def _keep_choice(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    name = parameter.name or ""
    if value is not None:
        setattr(_choice(context), name, value)
        _choice(context).said |= context.get_parameter_source(name) is ParameterSource.COMMANDLINE
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


def on_a_cluster(command: F) -> F:
    """Adds `--context`, `--namespace` and `--kubeconfig`; with any of them `source()` is a cluster."""
    for option in (
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path),
            metavar="F",
            expose_value=False,
            is_eager=True,
            callback=_keep_choice,
            help="On a cluster: the kubeconfig to use (default: $KUBECONFIG, else ~/.kube/config).",
        ),
        click.option(
            "-n",
            "--namespace",
            metavar="NS",
            expose_value=False,
            is_eager=True,
            callback=_keep_choice,
            help="On a cluster: this namespace (default: that of the context).",
        ),
        click.option(
            "--context",
            envvar=CONTEXT_VARIABLE,
            metavar="C",
            expose_value=False,
            is_eager=True,
            callback=_keep_choice,
            help="On a cluster: this context of the kubeconfig (default: its current one; also $RINGYARD_CONTEXT).",
        ),
    ):
        command = option(command)
    return command


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


def source() -> Source:
    """The jobs and endpoints that this call works on: those of the chosen cluster, else of this machine."""
    return _source(click.get_current_context())


def _source(context: click.Context) -> Source:
    if _choice(context).cluster:
        return cluster(context)
    from ringyard_operator.cli.on_disk import OnDisk
    from ringyard_operator.local.folders import StateDir

    root = trouble(context).state
    return OnDisk(StateDir(root) if root is not None else StateDir.default())


def cluster(context: click.Context | None = None, *, namespace: str = "") -> OnCluster:
    """The chosen cluster, or the current one; `namespace` stands in for an option that was not given."""
    context = context or click.get_current_context()
    made: OnCluster | None = context.meta.get(_SOURCE)
    if made is None:
        from ringyard_operator.cli.on_cluster import OnCluster

        choice = _choice(context)
        made = OnCluster.of(choice.kubeconfig, choice.context, choice.namespace or namespace, said=choice.said)
        context.meta[_SOURCE] = made
        context.find_root().call_on_close(made.close)
    return made


def complete_job(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of jobs for the shell's completion."""
    return _complete(context, incomplete, endpoints=False)


def complete_endpoint(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of endpoints for the shell's completion."""
    return _complete(context, incomplete, endpoints=True)


def _complete(context: click.Context, incomplete: str, *, endpoints: bool) -> list[str]:
    from ringyard_operator.errors import RingyardError

    try:
        where = _source(context)
        known = where.endpoint_names() if endpoints else where.job_names()
    except (RingyardError, CommandError):  # the command itself will say it: a shell's completion has no place for it
        return []
    return [name for name in known if name.startswith(incomplete)]


job_name = click.argument("name", metavar="NAME", shell_complete=complete_job)
endpoint_name = click.argument("name", metavar="NAME", shell_complete=complete_endpoint)
output_format = click.option(
    "-o", "--output", type=click.Choice(("json", "yaml")), help="Print the whole object instead."
)
