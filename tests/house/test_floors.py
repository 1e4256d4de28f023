"""Imports go down only, and users can have Ringyard and Triton's client in one environment."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_imports_go_down_only() -> None:
    done = subprocess.run([BIN / "lint-imports", "--no-cache"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_needs_no_torch_no_grpc_and_no_server() -> None:
    ask = (
        "import sys; from ringyard_operator.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'grpc', 'pyarrow', 'sklearn') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip().endswith("[]"), done.stderr


def test_what_we_ask_of_protobuf_and_grpc_leaves_room_for_tritonclient() -> None:
    """tritonclient 2.73 wants protobuf >= 6.30, < 7: a lower bound of ours above that would part the environments."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        ours = [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]
    theirs = [Requirement(text.split(";")[0]) for text in requires("tritonclient") or [] if "grpc" in text]
    both = {one.name: one.specifier for one in ours}
    for one in theirs:
        if one.name in both:
            pinned = pins()[one.name]
            assert pinned in one.specifier, f"{pinned} of {one.name} does not suit tritonclient ({one.specifier})"
            assert pinned in both[one.name]


def pins() -> dict[str, str]:
    """The versions that the suite runs on, by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@pytest.mark.parametrize("library", ["click", "torch"])
def test_a_missing_extra_is_named_with_the_remedy(library: str, tmp_path: Path) -> None:
    blind = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Blind(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name == {library!r} else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Blind\n"
        "from ringyard_operator.entry import main\n"
        "main()\n"
    )
    words = ["run", str(ROOT / "examples" / "minimal.yaml"), "--state-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", blind, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "pip install 'ringyard[local]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "jobs").exists()
