"""The fixture that the end-to-end tests share: a laptop with Ringyard on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from laptop import Laptop, laptop


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Laptop]:
    with laptop(tmp_path) as made:
        yield made
