"""The training process's error tree: what `__main__` turns into one sentence and one exit code, once.

Raised by every room of the trainer but `collective`. The message names the place in the manifest and the remedy; it
knows no exit codes beyond the launch contract's and prints nothing.
"""

from __future__ import annotations

from ringyard_api import launch


class TrainerError(Exception):
    """Anything that ends the process with a sentence for the user. `exit_code` is the launch contract's."""

    exit_code = launch.EXIT_BAD_INPUT


class BadInput(TrainerError):
    """The user's manifest, data or code is at fault: permanent, for trying again changes nothing.

    `path` is the field of the manifest that led here, "" where there is none.
    """

    def __init__(self, path: str, sentence: str) -> None:
        super().__init__(f"{path}: {sentence}" if path else sentence)


class NotFinite(TrainerError):
    """The loss became nan or infinite on the whole group: permanent."""

    exit_code = launch.EXIT_NOT_FINITE


class StorageFailed(TrainerError):
    """The run's folder takes no more (disk full, quota, permission) where going on would lose the result."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the machine had no memory left: nobody's fault, and worth another try."""
    words = ("can't allocate memory", "not enough memory", "Unable to allocate")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)
