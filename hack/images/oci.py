"""OCI layers and image archives from folders: what `fast.py` packs images with, without builder or registry.

A layer is the same bytes whenever its files are the same: sorted, owned by root, one time for all. So its digest is
the digest of what it holds, a changed file changes one layer only, and a containerd that has a layer is not sent it
again. It knows nothing of Ringyard.
"""

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MEDIA = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MADE_AT = 946_684_800  # 2000-01-01: every file's time. Bytecode is compiled so that it does not look at it.


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One folder, packed. `digest` is that of the uncompressed tar."""

    folder: Path
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Image:
    """Layers from the lowest to the highest; `config` as the OCI image specification has it below `config`."""

    name: str
    layers: tuple[Layer, ...]
    config: dict[str, object]

    def chain(self) -> list[str]:
        """What containerd calls the snapshot that holds the first layers up to each one."""
        chained = [self.layers[0].digest]
        for layer in self.layers[1:]:
            chained.append(f"sha256:{hashlib.sha256(f'{chained[-1]} {layer.digest}'.encode()).hexdigest()}")
        return chained

    def written(self) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
        """Its configuration and its manifest, each with its digest."""
        configured = _blob(
            {
                "architecture": ARCHITECTURES[platform.machine()],
                "os": "linux",
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]},
                "history": [{"created_by": "hack/images"} for _ in self.layers],
            }
        )
        layers = [{"mediaType": f"{MEDIA}.layer.v1.tar", "digest": one.digest, "size": one.size} for one in self.layers]
        manifest = _blob(
            {
                "schemaVersion": 2,
                "mediaType": f"{MEDIA}.manifest.v1+json",
                "config": _described("config.v1+json", *configured),
                "layers": layers,
            }
        )
        return configured, manifest


class _Passing(io.RawIOBase):
    """Counts and hashes what passes, and writes it on."""

    def __init__(self, onward: BinaryIO | None = None) -> None:
        self.hash, self.count, self._onward = hashlib.sha256(), 0, onward

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.hash.update(data)
        self.count += len(data)
        if self._onward is not None:
            self._onward.write(data)
        return len(data)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = MADE_AT
    return entry


def _files_of(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(folders + files))


def _pack(folder: Path, onward: BinaryIO | None) -> _Passing:
    passing = _Passing(onward)
    with tarfile.open(
        fileobj=passing, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20, copybufsize=1 << 20
    ) as tar:
        for path in _files_of(folder):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)
    return passing


def layer_of(folder: Path) -> Layer:
    """Reads the folder once; its bytes are packed again when an archive is written."""
    passing = _pack(folder, None)
    return Layer(folder=folder, digest=f"sha256:{passing.hash.hexdigest()}", size=passing.count)


def write_archive(out: BinaryIO, name: str, layers: Sequence[Layer], config: dict[str, object]) -> None:
    """One image with all its bytes."""
    write_images(out, [Image(name=name, layers=tuple(layers), config=config)])


def write_images(out: BinaryIO, images: Sequence[Image], *, known: Collection[str] = ()) -> None:
    """An OCI image archive. The bytes of layers whose digest is in `known` are left out: the reader has them."""
    listed, blobs = [], {}
    for image in images:
        configured, manifest = image.written()
        named = {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        }
        listed.append(_described("manifest.v1+json", *manifest) | {"annotations": named})
        blobs |= dict((configured, manifest))
    _put(out, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _put(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": listed}).encode())
    for digest, content in blobs.items():
        _put(out, f"blobs/{digest.replace(':', '/')}", content)
    wanted = {layer.digest: layer for image in images for layer in image.layers if layer.digest not in known}
    for layer in wanted.values():
        out.write(_head(f"blobs/{layer.digest.replace(':', '/')}", layer.size))
        passed = _pack(layer.folder, out)
        if f"sha256:{passed.hash.hexdigest()}" != layer.digest:
            raise RuntimeError(f"{layer.folder} changed while it was packed: run it again")
        out.write(bytes(-layer.size % 512))
    out.write(bytes(1024))
    out.flush()


def _blob(content: dict[str, object]) -> tuple[str, bytes]:
    written = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    return f"sha256:{hashlib.sha256(written).hexdigest()}", written


def _described(kind: str, digest: str, content: bytes) -> dict[str, object]:
    return {"mediaType": f"{MEDIA}.{kind}", "digest": digest, "size": len(content)}


def _head(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.PAX_FORMAT)


def _put(out: BinaryIO, name: str, content: bytes) -> None:
    out.write(_head(name, len(content)) + content + bytes(-len(content) % 512))
