"""`make images` for the cluster of `make cluster-up`: packs the images and brings them to its nodes, without builder
and registry.

    fast.py [operator] [trainer] [serving]   these (all) into the cluster's seed and into every node that is up
    fast.py archive FILE.tar IMAGE...        one OCI archive of them (base: what they stand on; builder: with uv)
    fast.py forget IMAGE...                  takes their name, with IMAGE_TAG, out of seed and nodes
It holds the same files as what the Dockerfile builds (tests/cluster/test_images.py). After a change of our code only
our layer, some megabytes, is packed and sent. A running node that lacks gigabytes is made anew from the seed instead:
its pods die, and it says so.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oci import Image, Layer, layer_of, write_images
from pieces import ROOT, UV, Pieces
from recipe import config_of

IMAGES = ("operator", "trainer", "serving")
TOOLS = Path(os.environ.get("CLUSTER_TOOLS", ROOT / "hack" / "cluster"))
LARGE = 1 << 30  # bytes that a node is not sent: it starts anew with the seed


@dataclass(frozen=True)
class Containerd:
    """One that is brought the images: the seed's, or a node's. `ctr` is the command that talks to it."""

    name: str
    ctr: tuple[str, ...]

    def snapshots(self) -> set[str]:
        """The chains of layers that it holds unpacked; with those it can run an image without their bytes."""
        told = subprocess.run([*self.ctr, "snapshots", "ls"], stdout=subprocess.PIPE, text=True, check=True).stdout
        return {line.split()[0] for line in told.splitlines()[1:] if line}

    def lacks(self, images: Sequence[Image]) -> tuple[set[str], int]:
        """The digests that it has, and how many bytes it lacks."""
        held = self.snapshots()
        pairs = {
            layer: chain in held for image in images for layer, chain in zip(image.layers, image.chain(), strict=True)
        }
        return {layer.digest for layer, has in pairs.items() if has}, sum(
            one.size for one, has in pairs.items() if not has
        )

    def bring(self, images: Sequence[Image], known: set[str]) -> None:
        with subprocess.Popen(
            [*self.ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as reader:
            assert reader.stdin
            write_images(reader.stdin, images, known=known)
            reader.stdin.close()
        if reader.returncode:
            raise SystemExit(f"ringyard: {self.name} did not take the images: see above")


SEED = Containerd("the seed", (str(TOOLS / "images"), "ctr"))


def cluster_settings() -> tuple[Path, Path]:
    """Its binaries and its state, as hack/cluster/settings.sh has them."""
    asked = f'. "{ROOT}/hack/cluster/settings.sh"; echo "$CLUSTER_BIN"; echo "$S"'
    told = subprocess.run(["bash", "-c", asked], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return Path(told[0]), Path(told[1])


def nodes_up() -> Iterator[tuple[str, Containerd]]:
    """Each with its number."""
    binaries, state = cluster_settings()
    for file in sorted((state / "run").glob("node*.pid")):
        number = file.stem.removeprefix("node")
        inside = (str(TOOLS / "node"), "exec", number)
        if subprocess.run([*inside, "true"], capture_output=True).returncode == 0:
            yield number, Containerd(f"node{number}", (*inside, str(binaries / "ctr"), "-n", "k8s.io"))
        else:
            print(f"node{number} is down: it starts with the images that it had", file=sys.stderr)


def name_of(image: str) -> str:
    """As Kubernetes completes the name of an image without a host."""
    name = f"{os.environ.get('IMAGE_PREFIX', 'ringyard')}/{image}:{os.environ.get('IMAGE_TAG', 'dev')}"
    first = name.partition("/")[0]
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def packed(pieces: Pieces, image: str) -> Image:
    """One image, its layers from below: base, packages, code."""
    if image in ("base", "builder"):
        layers = (pieces.base(), *([uv_layer(pieces)] if image == "builder" else []))
        return Image(name=name_of(image), layers=layers, config={"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]})
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    head = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    config = config_of(ROOT / "Dockerfile", image, {"REVISION": head or "unknown"})
    layers = (pieces.base(), *pieces.packages(image), pieces.code(image))
    return Image(name=name_of(image), layers=layers, config=config)


def uv_layer(pieces: Pieces) -> Layer:
    """For a build stage on our base, which has no pip to get uv by."""
    folder = pieces.cache / "uv"
    (folder / "usr" / "local" / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(UV, folder / "usr" / "local" / "bin" / "uv")
    return layer_of(folder)


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """One at a time makes pieces. The lock is on the folder: nothing is left behind."""
    cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def load(images: Sequence[Image]) -> None:
    """Into the seed first: what a node lacks in gigabytes it takes from there."""
    began = time.monotonic()
    known, lacked = SEED.lacks(images)
    SEED.bring(images, known)
    print(f"the seed took {lacked / 1e6:.1f} MB ({time.monotonic() - began:.1f} s)")
    for number, node in nodes_up():
        began = time.monotonic()
        known, lacked = node.lacks(images)
        if lacked > LARGE:
            subprocess.run([TOOLS / "node", "renew", number], check=True)
            print(f"{node.name} lacked {lacked / 1e9:.1f} GB and started anew with the seed; its pods are gone")
        else:
            node.bring(images, known)
            print(f"{node.name} took {lacked / 1e6:.1f} MB ({time.monotonic() - began:.1f} s)")


def forget(names: Sequence[str]) -> None:
    """What nobody names any more, containerd removes itself."""
    for each in (SEED, *(node for _, node in nodes_up())):
        subprocess.run([*each.ctr, "images", "rm", *map(name_of, names)], capture_output=True)


def main(words: Sequence[str]) -> None:
    """Runs as root: debootstrap, chroot and the nodes' namespaces want it."""
    if os.geteuid():
        raise SystemExit("ringyard: the test cluster's images need root; without it: make images BUILDER=podman")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(os.environ.get("RINGYARD_CACHE") or f"{home}/ringyard") / "images"
    with alone(cache):
        if words[:1] == ["forget"]:
            forget(words[1:])
            return
        archive = Path(words[1]) if words[:1] == ["archive"] else None
        pieces = Pieces(cache)
        images = [packed(pieces, name) for name in (words[2:] if archive else words or IMAGES)]
        for image in images:
            print(f"{image.name}: {sum(layer.size for layer in image.layers) / 1e6:.0f} MB")
        if archive is None:
            load(images)
        else:
            with archive.open("wb") as out:
                write_images(out, images)


if __name__ == "__main__":
    main(sys.argv[1:])
