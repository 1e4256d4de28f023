"""What the command line says of itself: `ringyard version`, `ringyard completion SHELL`. It touches no state."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from ringyard_operator.cli.exits import BadInput
from ringyard_operator.cli.options import examples, shared

SET_UP = {
    "bash": 'eval "$(ringyard completion bash)"   # a line for ~/.bashrc',
    "zsh": 'eval "$(ringyard completion zsh)"    # a line for ~/.zshrc',
    "fish": "ringyard completion fish > ~/.config/fish/completions/ringyard.fish",
}


def version_line() -> str:
    """Ringyard's version and the Python that runs it."""
    return f"ringyard {metadata.version('ringyard')} (Python {platform.python_version()})"


@click.command(epilog=examples("ringyard version"))
@shared
def version() -> None:
    """Print the version."""
    click.echo(version_line())


@click.command(epilog=examples(*SET_UP.values()))
@click.argument("shell", type=click.Choice(tuple(SET_UP)))
@shared
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and names."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if kind is None:
        raise BadInput(f"click knows no completion for {shell}")
    click.echo(kind(root, {}, "ringyard", "_RINGYARD_COMPLETE").source())
