"""Which versions a server shall hold, and which of them answers."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from ringyard_serving.policy import WeightedChoice
from ringyard_serving.wanted import WantedError, from_json

DIGEST = "sha256:" + "0" * 64
ENTRY = {"version": "1", "uri": "file:///m", "digest": DIGEST, "weight": 100}


@pytest.mark.parametrize("weights", [(90, 10), (50, 50), (1, 99), (34, 33, 33), (100, 0)])
def test_requests_are_split_exactly_by_weight(weights: tuple[int, ...]) -> None:
    choice = WeightedChoice([(str(number), weight) for number, weight in enumerate(weights)])
    for _ in range(3):
        counts = Counter(choice.next() for _ in range(sum(weights)))
        assert [counts[str(number)] for number in range(len(weights))] == list(weights)


def test_a_small_share_is_spread_and_not_a_block() -> None:
    choice = WeightedChoice([("old", 90), ("new", 10)])
    dealt = [choice.next() for _ in range(100)]
    places = [place for place, version in enumerate(dealt) if version == "new"]
    assert all(9 <= later - earlier <= 11 for earlier, later in itertools.pairwise(places))


def test_nothing_is_dealt_where_nothing_has_weight() -> None:
    assert WeightedChoice([("1", 0)]).next() is None


def test_a_single_version_without_a_weight_has_all_of_it() -> None:
    entry = {key: value for key, value in ENTRY.items() if key != "weight"}
    wanted = from_json(json.dumps({"model": "m", "generation": 3, "versions": [entry]}))
    assert wanted.versions[0].weight == 100 and wanted.generation == 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("[", "not JSON"),
        ([], "must be an object"),
        ({"versions": []}, "model: missing"),
        ({"model": "m", "versions": {}}, "list of objects"),
        ({"model": "m", "versions": [{"version": "1"}]}, "uri: missing"),
        ({"model": "m", "versions": [ENTRY, ENTRY]}, "named twice"),
        ({"model": "m", "versions": [{**ENTRY, "version": "latest"}]}, "must be a number"),
        ({"model": "m", "versions": [{**ENTRY, "digest": "md5:1"}]}, "64 hex digits"),
        ({"model": "m", "versions": [{**ENTRY, "uri": "s3://b"}]}, "file:///"),
        ({"model": "m", "versions": [{**ENTRY, "weight": 60}]}, "must sum to 100, got 60"),
        ({"model": "m", "versions": [{**ENTRY, "weight": -1}]}, "0 to 100"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(data: object, says: str) -> None:
    with pytest.raises(WantedError, match=says):
        from_json(data if isinstance(data, str) else json.dumps(data))
