"""What a field of our resources says about itself: one sentence, bounds, and whether it may change later.

Fields carry it as `Annotated[type, About(...)]`. Loading, the CRD's schema and the reference all read it from there, so
that they cannot disagree. It knows no field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_TEXT = 1024
LONGEST_QUANTITY = 64
MOST_ITEMS = 64
API_VERSION: Final = "ringyard.dev/v1alpha1"

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # RFC 1035 label
NAME_RULE = (
    "must be a lower-case name: a letter, then letters, digits and '-', at the end no '-', at most 63 characters"
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What values a field takes. None: no bound, except that every text and every list has one.

    Attributes:
        above: exclusive lower bound of a number.
        below: exclusive upper bound of a number.
        shortest: least length of a text or a list.
        longest: greatest length of a text, a list or a mapping.
        pattern: anchored regular expression of a text (the subset that RE2 and Python share).
        pattern_says: that pattern in words, to follow the field's path.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    pattern_says: str = ""


@dataclass(frozen=True)
class About:
    """One field: its description, what values it takes, and its role.

    Attributes:
        says: description, one sentence; the schema's `description` and the reference's last column.
        bounds: of its value (of the list itself, for a list).
        mutable: may change after the object was made, with all below it.
        merge_key: names that make an item of a list unique (the schema's `x-kubernetes-list-map-keys`).
        unique: no item of a list may stand there twice.
        spelled: name in YAML, where it is not the camelCase of the attribute.
    """

    says: str
    bounds: Bounds = Bounds()
    mutable: bool = False
    merge_key: tuple[str, ...] = ()
    spelled: str = ""
    unique: bool = False


COUNT = Bounds(at_least=0)
POSITIVE = Bounds(at_least=1)
NAME = Bounds(shortest=1, longest=63, pattern=NAME_PATTERN, pattern_says=NAME_RULE)
TEXT = Bounds(shortest=1)
