"""The command line, `ringyard`: the outermost shell, which turns every error into one sentence and one exit code, once.

`main` is the console script; scripts rely on the exit codes of `exits.Exit` and on `-o json` (docs/cli.md). The
commands stand in the modules beside this one and are imported when they are asked for, so that `--help` and
completion answer at once.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from ringyard_operator.cli.exits import CommandError, Exit
from ringyard_operator.cli.options import examples
from ringyard_operator.cli.trouble import Trouble

COMMANDS = {  # name: (module below this package, object in it), in the order that --help shows
    "validate": ("validate", "validate"),
    "run": ("run", "run"),
    "submit": ("submit", "submit"),
    "list": ("show", "list_jobs"),
    "status": ("show", "status"),
    "logs": ("logs", "logs"),
    "wait": ("show", "wait"),
    "scale": ("change", "scale"),
    "stop": ("change", "stop"),
    "delete": ("change", "delete"),
    "predict": ("endpoint", "predict"),
    "endpoints": ("endpoint", "endpoints"),
    "endpoint": ("endpoint", "endpoint"),
    "completion": ("about", "completion"),
    "version": ("about", "version"),
}


class Commands(click.Group):
    """The commands by name, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f", did you mean `ringyard {near[0]}`?" if near else ""
            ctx.fail(f"there is no command {cmd_name!r}{hint}")
        module, name = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"ringyard_operator.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from ringyard_operator.cli.about import version_line

        click.echo(version_line())
        context.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "ringyard run examples/digits.yaml",
        "ringyard status digits",
        "ringyard predict digits --input rows.json",
        "ringyard COMMAND --help",
    ),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def ringyard(context: click.Context) -> None:
    """Train a PyTorch model on a gang of workers from one manifest, gate it, and serve it over gRPC.

    \b
    Exit codes: 0 done, 1 the job failed, 2 bad input or usage, 3 no such job or endpoint, 4 timed out, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(Exit.BAD_INPUT)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `ringyard`. Always ends the process, with a code of `Exit`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines on stderr are no sentences for a user
    words = list(sys.argv[1:] if arguments is None else arguments)
    trouble = Trouble(command=" ".join(words))
    code = _call(words, trouble)
    _leave(code)


def _call(words: list[str], trouble: Trouble) -> int:
    """Runs one command and says what went wrong, if anything."""
    try:
        result = ringyard.main(args=words, prog_name="ringyard", standalone_mode=False, obj=trouble)
        return int(result) if isinstance(result, int) else Exit.DONE
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        trouble.say(_one_line(error.format_message()) + where, error)
        return Exit.BAD_INPUT
    except click.ClickException as error:
        trouble.say(_one_line(error.format_message()), error)
        return Exit.BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.DONE  # whoever read our output has had enough: `ringyard logs NAME | head`
    except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the user gets one sentence
        message, code = _explained(error)
        trouble.say(message, error)
        return code


def _explained(error: Exception) -> tuple[str, Exit]:
    """The sentence and the exit code of an error of any room."""
    from ringyard_api.loading import ManifestError

    from ringyard_operator import errors

    codes: tuple[tuple[type[Exception], Exit], ...] = (
        (errors.NotFound, Exit.NO_SUCH),
        (errors.LaunchRefused, Exit.BAD_INPUT),
        (errors.LaunchFailed, Exit.JOB_FAILED),
        (errors.KubeInvalid, Exit.BAD_INPUT),
        (errors.KubeError, Exit.JOB_FAILED),
        (errors.RingyardError, Exit.BAD_INPUT),
        (ManifestError, Exit.BAD_INPUT),
    )
    if isinstance(error, CommandError):
        return str(error), error.code
    for kind, code in codes:
        if isinstance(error, kind):
            return str(error), code
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", Exit.JOB_FAILED
    return (
        f"this should not happen ({type(error).__name__}: {error}): `--debug` shows where, please report it",
        Exit.JOB_FAILED,
    )


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _leave(code: int) -> None:
    """Ends the process. Output that nobody reads any more is no error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(int(code))
