"""Keeps a log readable while something is away: the same sentence is said once a minute, not twice a second.

Put on the operator's log by `operate`. Figures inside a sentence (attempts, seconds) do not make it another one.
"""

from __future__ import annotations

import logging
import re
import time

_AGAIN_SECONDS = 60.0
_MOST = 1000
_FIGURES = re.compile(r"\d+")


class SayOnce(logging.Filter):
    """Holds back warnings and errors that were said less than a minute ago."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.levelno < logging.WARNING:
            return True
        now, sentence = time.monotonic(), (record.name, _FIGURES.sub("#", record.getMessage()))
        if now - self._said.get(sentence, float("-inf")) < _AGAIN_SECONDS:
            return False
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[sentence] = now
        return True
