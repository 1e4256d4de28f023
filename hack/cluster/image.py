"""Packs one folder as an uncompressed one-layer OCI image archive, without builder or registry.

`images` calls it for the two images that the cluster itself needs (pause, busybox); it knows nothing of Ringyard's own.
    image.py FOLDER NAME:TAG OUT.tar COMMAND...
"""

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

OCI = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def layer_of(folder: Path) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as layer:
        for path in sorted(folder.rglob("*")):
            layer.add(path, str(path.relative_to(folder)), recursive=False, filter=owned_by_root)
    return held.getvalue()


def descriptor(kind: str, content: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": f"{OCI}.{kind}", "digest": digest, "size": len(content)}


def archive(folder: Path, name: str, out: Path, command: list[str]) -> None:
    layer = layer_of(folder)
    laid = descriptor("layer.v1.tar", layer)
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [laid["digest"]]},
        }
    ).encode()
    configured = descriptor("config.v1+json", config)
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": configured, "layers": [laid]}
    ).encode()
    listed = descriptor("manifest.v1+json", manifest)
    index = {"schemaVersion": 2, "manifests": [listed | {"annotations": {"io.containerd.image.name": name}}]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    for what, content in ((laid, layer), (configured, config), (listed, manifest)):
        files[f"blobs/sha256/{str(what['digest']).removeprefix('sha256:')}"] = content
    with tarfile.open(out, "w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    archive(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
