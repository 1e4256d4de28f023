"""The images: what they hold, that they run without rights, and that a change of our code reaches the nodes.

The Dockerfile is built here by buildah, which is what shows that it builds; the way that loads the test cluster faster
is held to the same files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_at_hand import ROOT, Cluster
from image_files import ArchivedImage, read_image
from kubectl import Kubectl

PREFIX = os.environ.get("IMAGE_PREFIX", "ringyard")
TAG = os.environ.get("IMAGE_TAG", "dev")
MEGABYTE = 1_000_000
# What buildah itself leaves in a stage that runs a command: files that a container runtime replaces, and the places
# where the test's own volumes were (machine's certificates, uv's configuration and cache). All are empty.
PLACES_OF_VOLUMES = {
    *("etc/hostname", "etc/hosts", "etc/resolv.conf"),
    *("etc/uv", "etc/uv/uv.toml", "root/.cache", "root/.cache/uv"),
}
SOURCES = ("Dockerfile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
FOLDERS = ("api", "operator", "trainer", "serving", "hack")

buildah_only = pytest.mark.skipif(
    not (shutil.which("buildah") and shutil.which("debootstrap")) or os.geteuid() != 0,
    reason="building the Dockerfile needs root, buildah and debootstrap",
)


def fast(*words: object, root: Path = ROOT, **environment: str) -> str:
    """`make images` by the fast way; what it said."""
    command = [sys.executable, "-B", str(root / "hack" / "images" / "fast.py"), *map(str, words)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def confined(name: str, image: str, *command: str) -> dict[str, Any]:
    """A pod as Pod Security `restricted` wants it, with a read-only root and nothing but /tmp to write to."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def said_by(kubectl: Kubectl, pod: dict[str, Any]) -> tuple[int, str]:
    """Runs the pod to its end: exit code and output."""
    name = pod["metadata"]["name"]
    kubectl.apply(pod)

    def ended() -> dict[str, Any] | None:
        states = kubectl.get("pod", name).get("status", {}).get("containerStatuses", [])
        waiting = [state["state"].get("waiting", {}) for state in states]
        assert not [why for why in waiting if why.get("reason") in ("ErrImagePull", "ImagePullBackOff")], (
            f"{pod['spec']['containers'][0]['image']} is not in the nodes: `make images` brings it"
        )
        return next((state["state"]["terminated"] for state in states if "terminated" in state["state"]), None)

    code = kubectl.wait_until(ended, f"the end of pod {name}")["exitCode"]
    return int(code), kubectl.logs(name)


@pytest.mark.parametrize(
    ("image", "command", "code", "words"),
    [
        ("operator", "python -m ringyard_operator --help", 0, "usage: python -m ringyard_operator"),
        ("operator", "ringyard --help", 0, "Train a PyTorch model on a gang of workers from one manifest"),
        ("trainer", "ringyard-worker", 2, "RINGYARD_JOB is not set: it is started by Ringyard, not by hand"),
        ("serving", "python -m ringyard_serving --help", 0, "usage: ringyard-serving"),
    ],
)
def test_an_image_runs_without_rights_on_a_read_only_file_system(
    kubectl: Kubectl, image: str, command: str, code: int, words: str
) -> None:
    ended, said = said_by(kubectl, confined("smoke", f"{PREFIX}/{image}:{TAG}", *command.split()))
    assert words in said
    assert ended == code


@pytest.mark.parametrize("image", ["trainer", "serving"])
def test_torch_computes_as_a_user_that_has_a_name(kubectl: Kubectl, image: str) -> None:
    program = "import getpass, os, torch; print(torch.ones(3).sum().item(), getpass.getuser(), os.getuid())"
    code, said = said_by(kubectl, confined("torch", f"{PREFIX}/{image}:{TAG}", "python", "-c", program))
    assert (code, said.strip()) == (0, "3.0 ringyard 65532")


@pytest.mark.parametrize("image", ["operator", "trainer", "serving"])
def test_no_installer_and_no_compiler_is_left_inside(kubectl: Kubectl, image: str) -> None:
    tools = ["pip", "pip3", "uv", "gcc", "cc", "g++", "ld", "make", "git"]
    program = (
        f"import shutil, importlib.util; print([t for t in {tools} if shutil.which(t)]"
        " + [m for m in ('pip', 'uv', 'ensurepip') if importlib.util.find_spec(m)])"
    )
    code, said = said_by(kubectl, confined("tools", f"{PREFIX}/{image}:{TAG}", "python", "-c", program))
    assert (code, said.strip()) == (0, "[]")


# -- the two ways --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> ArchivedImage:
    """The operator's image by the fast way."""
    archive = tmp_path_factory.mktemp("fast") / "operator.tar"
    fast("archive", archive, "operator")
    return read_image(archive)


@pytest.fixture(scope="module")
def by_dockerfile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchivedImage]:
    """The operator's image by buildah, from the Dockerfile, on the same base."""
    folder = tmp_path_factory.mktemp("buildah")
    for name in ("base", "builder"):
        fast("archive", folder / f"{name}.tar", name, IMAGE_PREFIX="localhost/ringyard")
    (folder / "uv.toml").write_text("native-tls = true\n")
    uv_cache = subprocess.check_output([ROOT / ".venv" / "bin" / "uv", "cache", "dir"], text=True).strip()
    buildah = f"buildah --root {folder}/root --runroot {folder}/run --storage-driver overlay"
    script = f"""set -e
        {buildah} pull -q oci-archive:{folder}/base.tar
        {buildah} pull -q oci-archive:{folder}/builder.tar
        {buildah} bud -q --layers --pull-never --isolation chroot --target operator -t localhost/ringyard/made:dev \
            --build-arg BASE=localhost/ringyard/base:dev --build-arg BUILDER=localhost/ringyard/builder:dev \
            --volume /etc/ssl/certs:/etc/ssl/certs:ro --volume {folder}/uv.toml:/etc/uv/uv.toml:ro \
            --volume {uv_cache}:/root/.cache/uv {ROOT}
        {buildah} push -q localhost/ringyard/made:dev oci-archive:{folder}/made.tar"""
    # In a mount namespace of its own, because buildah leaves mounts behind.
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    yield read_image(folder / "made.tar")
    shutil.rmtree(folder)


@buildah_only
def test_the_dockerfile_builds_and_the_fast_way_makes_the_same_files(
    by_hand: ArchivedImage, by_dockerfile: ArchivedImage
) -> None:
    more = set(by_dockerfile.entries) - set(by_hand.entries)
    assert not more - PLACES_OF_VOLUMES
    assert not sum(by_dockerfile.entries[path].size for path in more), "the machine's files stayed in the image"
    assert not set(by_hand.entries) - set(by_dockerfile.entries)
    differing = {path for path, entry in by_hand.entries.items() if entry != by_dockerfile.entries[path]}
    assert not differing


@buildah_only
def test_both_ways_tell_the_container_runtime_the_same(by_hand: ArchivedImage, by_dockerfile: ArchivedImage) -> None:
    told = [dict(image.config) for image in (by_hand, by_dockerfile)]
    labels = [config.pop("Labels") for config in told]
    assert told[0] == told[1]
    assert told[0]["User"] == "65532:65532"
    for one in labels:
        one.pop("io.buildah.version", None)
        assert one.pop("org.opencontainers.image.revision")
    assert labels[0] == labels[1]
    assert labels[0]["org.opencontainers.image.licenses"] == "Apache-2.0"


@buildah_only
def test_the_operators_image_is_small_and_holds_no_torch_and_none_of_the_others_code(by_hand: ArchivedImage) -> None:
    assert sum(size for _, size in by_hand.layers) <= 250 * MEGABYTE
    packages = {
        path.split("/")[5] for path in by_hand.entries if re.match(r"opt/ringyard/lib/[^/]+/site-packages/.", path)
    }
    assert {"ringyard_api", "ringyard_operator", "kopf"} <= packages
    assert not packages & {"torch", "nvidia", "ringyard_trainer", "ringyard_serving", "pip", "uv"}
    assert not [path for path, entry in by_hand.entries.items() if entry.mode & 0o6000 and entry.kind == "file"]


# -- a change of our code ------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of ours to change."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.fixture
def tag(cluster: Cluster) -> Iterator[str]:
    """A tag of the test's own, taken out of the cluster again."""
    made = f"changed-{os.getpid()}"
    yield made
    fast("forget", "operator", CLUSTER_STATE=str(cluster.state), IMAGE_TAG=made)


@pytest.mark.destructive
@buildah_only
def test_changed_code_reaches_the_nodes_under_the_same_tag_in_a_layer_of_megabytes(
    cluster: Cluster, kubectl: Kubectl, checkout: Path, tag: str
) -> None:
    told = []
    for word in ("first", "second"):
        (checkout / "operator" / "ringyard_operator" / "word.py").write_text(f"print({word!r})\n")
        took = fast("operator", root=checkout, CLUSTER_STATE=str(cluster.state), IMAGE_TAG=tag)
        assert max(float(sent) for sent in re.findall(r"took ([0-9.]+) MB", took)) < 10, took
        asked = ("python", "-m", "ringyard_operator.word")
        told.append(said_by(kubectl, confined(word, f"{PREFIX}/operator:{tag}", *asked)))
    assert told == [(0, "first\n"), (0, "second\n")]
