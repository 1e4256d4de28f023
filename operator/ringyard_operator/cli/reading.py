"""Reads many objects of a state folder for the commands that list: one that is spoilt hides no other.

Called by `show` and `endpoint`. It says what it could not read and goes on; it knows nothing of what it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from ringyard_operator.cli.options import trouble

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Readable(Protocol[T_co]):
    """A job's or an endpoint's folder."""

    def read(self) -> T_co:
        """The object with its status."""


def readable(folders: Iterable[Readable[T]]) -> list[T]:
    """The objects that can be read. Of those that cannot the reason is said; one that has just been deleted is none."""
    from ringyard_api.loading import ManifestError

    from ringyard_operator.errors import NotFound, StateUnusable

    found: list[T] = []
    for folder in folders:
        try:
            found.append(folder.read())
        except NotFound:
            continue
        except (ManifestError, StateUnusable) as error:
            trouble().say(str(error), error)
    return found
