"""Reads many objects for the commands that list: one that is spoilt hides no other.

Called by `on_disk` and `on_cluster`. It says what it could not read and goes on; it knows nothing of what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ringyard_operator.cli.options import trouble

T = TypeVar("T")


def readable(reads: Iterable[Callable[[], T]]) -> list[T]:
    """The objects that can be read. Of those that cannot the reason is said; one that has just been deleted is none."""
    from ringyard_api.loading import ManifestError

    from ringyard_operator.errors import NotFound, StateUnusable

    found: list[T] = []
    for read in reads:
        try:
            found.append(read())
        except NotFound:
            continue
        except (ManifestError, StateUnusable) as error:
            trouble().say(str(error), error)
    return found
