"""The one table of what a caller is told: a situation, and the gRPC status that stands for it.

Every part of the server raises `Refusal` with a situation and one sentence; only the servicers look the status up. So a
situation has the same status wherever it arises. Source: SERVING.md §Errors; Triton's answers where it is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import grpc


class Situation(StrEnum):
    """Why a call gets no answer."""

    BAD_REQUEST = "bad request"  # shape, rank, datatype, byte count, names, duplicates, unknown output, not parseable
    UNKNOWN = "unknown model or version"
    NOT_READY = "loading or draining"
    BUSY = "queue full"
    EXPIRED = "deadline passed while queued"
    MODEL_FAILED = "the model itself raised"
    NOT_ALLOWED = "no or a wrong token"
    BROKEN = "the server itself is at fault"


STATUS: Mapping[Situation, grpc.StatusCode] = {
    Situation.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Situation.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Situation.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Situation.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Situation.EXPIRED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Situation.MODEL_FAILED: grpc.StatusCode.INTERNAL,
    Situation.NOT_ALLOWED: grpc.StatusCode.UNAUTHENTICATED,
    Situation.BROKEN: grpc.StatusCode.INTERNAL,
}


class Refusal(Exception):
    """A call that gets a status instead of an answer. `str()` is the sentence the caller reads."""

    def __init__(self, situation: Situation, message: str) -> None:
        super().__init__(message)
        self.situation = situation


class ArtifactError(Exception):
    """An artifact that must not be served: one sentence that names the file and what is wrong with it."""


class StartError(Exception):
    """The server cannot start: one sentence that names the place and the remedy. Exit code 2."""
