"""Which version answers a request that names none: by weight, exactly, request by request.

Smooth weighted round robin (nginx, `ngx_http_upstream_get_peer`): in every run of `sum(weights)` requests each version
answers exactly its weight's share, and the shares are interleaved, not in blocks. The repository calls it; it knows
versions by name only, no readiness, no time and no randomness.
"""

from __future__ import annotations

from collections.abc import Sequence


class WeightedChoice:
    """Deals versions out by weight. Not thread safe: it belongs to the event loop."""

    def __init__(self, weights: Sequence[tuple[str, int]] = ()) -> None:
        """`weights`: (version, weight) pairs; those of weight 0 or less are never dealt."""
        self._weights = tuple((version, weight) for version, weight in weights if weight > 0)
        self._credit = [0] * len(self._weights)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that may be dealt."""
        return tuple(version for version, _ in self._weights)

    @property
    def weights(self) -> tuple[tuple[str, int], ...]:
        """What it deals by."""
        return self._weights

    def next(self) -> str | None:
        """The version for the next request; None if there is none to deal."""
        if not self._weights:
            return None
        for place, (_, weight) in enumerate(self._weights):
            self._credit[place] += weight
        best = max(range(len(self._credit)), key=self._credit.__getitem__)
        self._credit[best] -= sum(weight for _, weight in self._weights)
        return self._weights[best][0]
