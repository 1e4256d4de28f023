"""What the command line reads of a published artifact: `model.json`, where it lies in a local folder. Never the model
itself.
"""

from __future__ import annotations

from ringyard_api.artifact import MODEL_JSON, ArtifactError, ModelManifest

from ringyard_operator.cli.places import local_path


def manifest_of(uri: str) -> ModelManifest | None:
    """The manifest of the artifact at `uri`, or None where it is not on this machine or cannot be read."""
    folder = local_path(uri)
    if folder is None:
        return None
    try:
        return ModelManifest.from_json((folder / MODEL_JSON).read_text(encoding="utf-8"))
    except (OSError, ArtifactError):
        return None
