"""The console script `ringyard`: the one place that a bare `pip install ringyard` reaches before any extra is needed.

It imports the command line and says in a sentence which extra is missing where that fails; it knows no command.
"""

from __future__ import annotations

import sys

_EXTRAS = ("click", "rich", "numpy", "prometheus_client")


def main() -> None:
    """Runs `ringyard_operator.cli.main`; exit 2 where its libraries are not installed."""
    try:
        from ringyard_operator.cli import main as command_line
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        sentence = f"{error.name} is missing, it comes with an extra: pip install 'ringyard[local]'"
        print(f"ringyard: {sentence}", file=sys.stderr)
        sys.exit(2)
    command_line()
