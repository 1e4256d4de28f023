"""What an OCI image archive holds, read without the code that writes ours: its files by path, and its configuration."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Entry:
    """One path of the image as a container sees it."""

    kind: str  # file, folder, link
    mode: int
    owner: tuple[int, int]
    content: str  # digest of a file, target of a link
    size: int


@dataclasses.dataclass(frozen=True)
class ArchivedImage:
    """An image with its layers applied."""

    config: dict[str, Any]
    entries: dict[str, Entry]
    layers: list[tuple[str, int]]  # digest and bytes as packed


def read_image(archive: Path) -> ArchivedImage:
    """The only image of an archive."""
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> bytes:
            held = outer.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert held is not None
            return held.read()

        index = outer.extractfile("index.json")
        assert index is not None
        (listed,) = json.loads(index.read())["manifests"]
        manifest = json.loads(blob(listed["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))["config"]
        entries: dict[str, Entry] = {}
        for layer in manifest["layers"]:
            _apply(entries, blob(layer["digest"]))
        return ArchivedImage(config, entries, [(layer["digest"], layer["size"]) for layer in manifest["layers"]])


def _apply(entries: dict[str, Entry], layer: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            path = member.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            if name.startswith(".wh."):
                gone = f"{folder}/{name.removeprefix('.wh.')}".strip("/")
                for each in [p for p in entries if p == gone or p.startswith(f"{gone}/")]:
                    del entries[each]
            elif path:
                entries[path] = _entry(entries, tar, member)


def _entry(entries: dict[str, Entry], tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    owner = (member.uid, member.gid)
    if member.islnk():
        return entries[member.linkname.removeprefix("./")]
    if member.issym():
        return Entry("link", 0o777, owner, member.linkname, 0)
    if member.isdir():
        return Entry("folder", member.mode & 0o7777, owner, "", 0)
    held = tar.extractfile(member)
    assert held is not None, member.name
    content = held.read()
    return Entry("file", member.mode & 0o7777, owner, hashlib.sha256(content).hexdigest(), len(content))
