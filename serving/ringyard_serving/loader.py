"""Brings one wanted version up: verified copy, program, warm-up. The repository runs it in its loader thread.

The only place that imports the predictor, and with it torch, so that the server listens before torch has loaded.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ringyard_serving import store
from ringyard_serving.repository import Model
from ringyard_serving.wanted import WantedVersion


class Loader:
    """Knows where copies lie and how many threads torch may use."""

    def __init__(self, *, cache: Path, threads: int) -> None:
        """`threads`: how many requests are computed at once; torch's own threads share the other cores."""
        self._cache = cache
        self._torch_threads = max(1, (os.cpu_count() or 1) // threads)
        self._configured = threading.Event()

    def load(self, want: WantedVersion) -> Model:
        """Raises `ArtifactError` with one sentence if the version must not be served."""
        folder, manifest = store.fetch(want.uri, want.digest, self._cache)
        from ringyard_serving.predictor import Predictor

        if not self._configured.is_set() and "OMP_NUM_THREADS" not in os.environ:  # whoever sets that has the last word
            import torch

            torch.set_num_threads(self._torch_threads)
            self._configured.set()
        predictor = Predictor(folder, manifest)
        predictor.warm_up()
        return predictor

    def forget(self, digest: str) -> None:
        """Removes the local copy of a version that is no longer served."""
        store.forget(digest, self._cache)
