"""Whether an object on the cluster already is what we want: everything that we say must be there, as we say it.

`kube` asks before it writes, so that an idle operator writes nothing. What others or the API server's defaults added
is theirs and makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def same(desired: Any, actual: Any) -> bool:
    """Whether `actual` holds all that `desired` says. Lists are compared item by item: ours have no other writer."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(same(value, actual.get(name)) for name, value in desired.items())
    if isinstance(desired, (list, tuple)):
        if not isinstance(actual, (list, tuple)):
            return not desired and actual is None
        return len(desired) == len(actual) and all(map(same, desired, actual))
    return bool(desired == actual)
