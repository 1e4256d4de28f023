"""`pvc://CLAIM/PATH`: a folder on a PersistentVolumeClaim, and where a pod of ours finds it.

`validation` refuses what is none, the operator mounts claims and tells workers and servers the folder. It knows no pod.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "pvc"
MOUNT_ROOT: Final = "/ringyard/claims"
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # DNS-1123 subdomain, as the name of a claim
_STEP = re.compile(r"[^/%?#\x00-\x1f]+")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder on a claim. `path` has no slash at its ends; empty is the claim's root."""

    claim: str
    path: str

    @property
    def mounted(self) -> str:
        """The folder in a pod that mounts the claim where we mount it."""
        return "/".join(part for part in (MOUNT_ROOT, self.claim, self.path) if part)

    @property
    def uri(self) -> str:
        """As a manifest names it."""
        return f"{SCHEME}://{self.claim}/{self.path}".rstrip("/")

    def below(self, name: str) -> Folder:
        """A folder in this folder."""
        return Folder(claim=self.claim, path=f"{self.path}/{name}".lstrip("/"))


def is_claim(uri: str) -> bool:
    """Whether the URI speaks of a claim, well or badly."""
    return uri.startswith(f"{SCHEME}://")


def parse(uri: str) -> Folder:
    """The folder of a `pvc://` URI. Raises ValueError with a clause that follows the field's path."""
    claim, _, path = uri.removeprefix(f"{SCHEME}://").partition("/")
    if not is_claim(uri) or not _CLAIM.fullmatch(claim):
        raise ValueError(f"must be pvc://CLAIM/PATH with the name of a PersistentVolumeClaim, got {uri!r}")
    steps = [step for step in path.split("/") if step]
    if any(step in (".", "..") or not _STEP.fullmatch(step) for step in steps):
        raise ValueError(f"must name a plain folder below the claim, without '.', '..', '%', '?' and '#', got {uri!r}")
    return Folder(claim=claim, path="/".join(steps))


def mounted_uri(uri: str) -> str:
    """A `pvc://` URI as the file:// URI inside our pods; any other as it is."""
    return f"file://{parse(uri).mounted}" if is_claim(uri) else uri
