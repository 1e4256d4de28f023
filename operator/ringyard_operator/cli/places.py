"""Paths of a manifest on this machine: relative ones are meant from the manifest's folder, and must lead somewhere.

`run` calls it before a job is submitted, so that the job's spec holds absolute paths and a missing file is said
before any worker starts. It looks at files and folders and never into them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.cli.exits import BadInput


def absolute(text: str, folder: Path) -> str:
    """`text` with a relative path made absolute below `folder`; a URI with a scheme stays as it is."""
    return text if "://" in text else str((folder / Path(text).expanduser()).absolute())


def local_path(text: str) -> Path | None:
    """The path that a `file://` URI or a bare path names; None for any other scheme."""
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def resolve_paths(job: TrainingJob, folder: Path, source: str) -> TrainingJob:
    """The job with `data.uri`, `code.path` and `storage.uri` absolute. Raises `BadInput` for what is not there."""
    spec = job.spec
    problems = []
    if spec.data is not None and spec.data.uri:
        spec = replace(spec, data=replace(spec.data, uri=absolute(spec.data.uri, folder)))
        path = local_path(spec.data.uri) if spec.data else None
        if path is not None and not path.exists():
            problems.append(f"{source}: spec.data.uri: no such file: {path}")
    if spec.code is not None and spec.code.path:
        code = (folder / Path(spec.code.path).expanduser()).absolute()
        spec = replace(spec, code=replace(spec.code, path=str(code)))
        if not code.is_dir():
            problems.append(f"{source}: spec.code.path: no such folder: {code}")
    if spec.storage is not None and spec.storage.uri:
        spec = replace(spec, storage=replace(spec.storage, uri=absolute(spec.storage.uri, folder)))
        path = local_path(spec.storage.uri) if spec.storage else None
        if path is not None and path.exists() and not path.is_dir():
            problems.append(f"{source}: spec.storage.uri: must be a folder, and {path} is a file")
    if problems:
        raise BadInput("\n".join(problems))
    return replace(job, spec=spec)
