"""Brings an artifact from its store onto local disk, verified: a store that goes away later stops no server.

A copy is hashed as it is written, so what was verified is what is loaded; it appears under its digest only when whole.
The repository's loader calls it. It opens files and knows no torch, no versions and no gRPC.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ringyard_api.artifact import MODEL_JSON, ModelManifest

from ringyard_serving.errors import ArtifactError, ArtifactUnseen

_BLOCK = 1 << 20


def fetch(uri: str, digest: str, cache: Path) -> tuple[Path, ModelManifest]:
    """The local folder of the artifact and its manifest. Raises `ArtifactError` if anything is not as signed."""
    local = cache / digest.replace(":", "-")
    if local.is_dir():
        try:
            return local, _verify(local, digest)
        except (ArtifactError, OSError):
            shutil.rmtree(local, ignore_errors=True)  # the copy has rotted: take it anew
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".copy-", dir=cache))
    except OSError as error:
        raise ArtifactError(f"{cache}: cannot keep artifacts there: {error.strerror}") from None
    try:
        manifest = _copy(_folder(uri), digest, fresh)
        fresh.rename(local)
        return local, manifest
    except OSError as error:
        raise ArtifactUnseen(f"{error.filename or uri}: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def forget(digest: str, cache: Path) -> None:
    """Removes the local copy of a version that is no longer served."""
    shutil.rmtree(cache / digest.replace(":", "-"), ignore_errors=True)


def manifest_digest(folder: Path) -> str:
    """The digest of an artifact = the sha256 of its model.json. `ArtifactError` if there is none."""
    try:
        return "sha256:" + hashlib.sha256((folder / MODEL_JSON).read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(f"{folder / MODEL_JSON}: {error.strerror}") from None


def _folder(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise ArtifactError(f"{uri}: only file:/// folders can be served")
    return Path(unquote(parts.path))


def _copy(source: Path, digest: str, target: Path) -> ModelManifest:
    found = _copy_file(source / MODEL_JSON, target / MODEL_JSON)
    manifest = _manifest(target, f"sha256:{found}", digest)
    for name, signed in manifest.files.items():
        if _copy_file(source / _plain(name), target / name) != signed:
            raise ArtifactError(f"{MODEL_JSON}: digest mismatch of {name}: the file is not the one that was signed")
    return manifest


def _verify(folder: Path, digest: str) -> ModelManifest:
    manifest = _manifest(folder, manifest_digest(folder), digest)
    for name, signed in manifest.files.items():
        with (folder / _plain(name)).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != signed:
                raise ArtifactError(f"{name}: the local copy has changed")
    return manifest


def _manifest(folder: Path, found: str, digest: str) -> ModelManifest:
    if found != digest:
        raise ArtifactError(f"{MODEL_JSON}: digest mismatch: wanted {digest}, found {found}")
    try:
        return ModelManifest.from_json((folder / MODEL_JSON).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(str(error)) from None


def _plain(name: str) -> str:
    if Path(name).name != name or name in ("", ".", ".."):
        raise ArtifactError(f"{MODEL_JSON}: file {name!r} is not a plain name inside the artifact")
    return name


def _copy_file(source: Path, target: Path) -> str:
    """Copies and returns the sha256, in hex, of what was written."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
    return digest.hexdigest()
