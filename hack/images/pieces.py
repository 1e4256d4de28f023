"""The folders that the test cluster's images are packed from: the base, other people's packages, our code.

`fast.py` asks for them. What is in them is `install`'s and `debian`'s business, what an image is the Dockerfile's;
here is only when a piece has to be made anew: a piece of packages when its list, its recipe or the base has changed,
our code always.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

from oci import Layer, layer_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
UV = ROOT / ".venv" / "bin" / "uv"
# The image's own interpreter compiles, in the base's root: `$1` base, `$2` folder, the recipe on standard input.
COMPILE = 'mount --bind /dev "$1/dev"; mount --bind "$2" "$1/mnt"; exec chroot "$1" /bin/bash -s bytecode /mnt'


class Pieces:
    """Kept in `cache`, outside the checkout; whoever makes some holds its lock."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def base(self) -> Layer:
        """Debian and its Python."""
        return self._kept("base", _key((HERE / "debian").read_bytes()), self._make_base)

    def packages(self, image: str) -> list[Layer]:
        """Other people's, as the Dockerfile lays them: one layer for the operator, two for what holds torch."""
        lists = self._lists()
        names = ["operator"] if image == "operator" else ["torch", image]
        made = []
        for name in names:
            listed = lists / name
            key = _key(listed.read_bytes(), self._recipe())
            made.append(self._kept(name, key, lambda folder, listed=listed: self._make("third-party", listed, folder)))
        return made

    def code(self, image: str) -> Layer:
        """Ours, as it is now. The folder stays until the next time: the archive is packed from it."""
        folder = self.cache / f"code-{image}"
        shutil.rmtree(folder, ignore_errors=True)
        self._make("code", image, folder)
        return layer_of(folder)

    def _recipe(self) -> bytes:
        return (HERE / "install").read_bytes() + self.base().digest.encode()

    def _lists(self) -> Path:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = json.dumps([project["dependencies"], project["optional-dependencies"]]).encode()
        folder = self.cache / f"lists-{_key(wanted, (ROOT / 'constraints.txt').read_bytes(), self._recipe())}"
        if not folder.is_dir():
            making = folder.with_suffix(".new")
            self._install("lists", making)
            self._replace("lists", making, folder)
        return folder

    def _kept(self, name: str, key: str, make: Callable[[Path], None]) -> Layer:
        folder = self.cache / f"{name}-{key}"
        noted = folder.with_suffix(".json")
        if not noted.is_file():
            making = folder.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            self._replace(name, making, folder)
            layer = layer_of(folder)
            noted.write_text(json.dumps({"digest": layer.digest, "size": layer.size}))
        told = json.loads(noted.read_text())
        return Layer(folder=folder, digest=told["digest"], size=told["size"])

    def _replace(self, name: str, making: Path, folder: Path) -> None:
        for old in self.cache.glob(f"{name}-*"):
            if old == making:
                continue
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        making.rename(folder)

    def _make_base(self, folder: Path) -> None:
        subprocess.run([HERE / "debian", folder], check=True)

    def _make(self, what: str, which: Path | str, folder: Path) -> None:
        self._install(what, which, folder)
        with (HERE / "install").open() as recipe:
            command = ["unshare", "--mount", "sh", "-ec", COMPILE, "sh", self.base().folder, folder]
            subprocess.run(command, stdin=recipe, check=True, cwd="/")

    def _install(self, *words: object) -> None:
        version = next((self.base().folder / "usr" / "lib").glob("python3.*")).name.removeprefix("python")
        its = {"UV": str(UV), "PYTHON": "/usr/bin/python3", "VERSION": version}
        subprocess.run([HERE / "install", *map(str, words)], check=True, cwd=ROOT, env={**os.environ, **its})


def _key(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
