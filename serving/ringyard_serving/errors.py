"""The one table of what a caller is told: a situation, and the gRPC status that stands for it.

Every part of the server raises `Refusal` with a situation and one sentence; only the servicers look the status up. So a
situation has the same status wherever it arises. Statuses stand here by name, so that the cores need no gRPC. Source:
SERVING.md §Errors; Triton's answers where it is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Situation(StrEnum):
    """Why a call gets no answer."""

    BAD_REQUEST = "bad request"  # shape, rank, datatype, byte count, names, duplicates, unknown output, not parseable
    UNKNOWN = "unknown model or version"
    NOT_READY = "loading or draining"
    BUSY = "queue full"
    EXPIRED = "deadline passed while queued"
    MODEL_FAILED = "the model itself raised"
    NOT_ALLOWED = "no or a wrong token"


STATUS: Mapping[Situation, str] = {
    Situation.BAD_REQUEST: "INVALID_ARGUMENT",
    Situation.UNKNOWN: "NOT_FOUND",
    Situation.NOT_READY: "UNAVAILABLE",
    Situation.BUSY: "RESOURCE_EXHAUSTED",
    Situation.EXPIRED: "DEADLINE_EXCEEDED",
    Situation.MODEL_FAILED: "INTERNAL",
    Situation.NOT_ALLOWED: "UNAUTHENTICATED",
}


class Refusal(Exception):
    """A call that gets a status instead of an answer. `str()` is the sentence the caller reads."""

    def __init__(self, situation: Situation, message: str) -> None:
        super().__init__(message)
        self.situation = situation


class ArtifactError(Exception):
    """An artifact that must not be served: one sentence that names the file and what is wrong with it."""


class ArtifactUnseen(ArtifactError):
    """The store does not show the artifact. One that is shared by nodes may do so a while later."""


class StartError(Exception):
    """The server cannot start: one sentence that names the place and the remedy. Exit code 2."""
