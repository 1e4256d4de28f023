"""Storage for the tests: PersistentVolumeClaims that many pods on many nodes may write to.

On a cluster of ours each is a folder of this machine (all nodes see it), elsewhere what the cluster's StorageClass
gives: `CLUSTER_STORAGE_CLASS` names one that allows ReadWriteMany, else it is the default class and ReadWriteOnce.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from cluster_at_hand import Cluster


class Claims:
    """The claims of one test."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.kubectl, self.namespace = cluster.kubectl.within(namespace), namespace
        self.folder = cluster.volumes
        self.volumes: list[str] = []

    def __call__(self, name: str, size: str = "1Gi") -> str:
        """Makes the claim and answers with its name."""
        storage_class = os.environ.get("CLUSTER_STORAGE_CLASS", "")
        shared = bool(self.folder or storage_class)
        spec: dict[str, Any] = {
            "accessModes": ["ReadWriteMany" if shared else "ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        }
        if self.folder:
            spec |= {"storageClassName": "manual", "volumeName": self.volume(name, size)}
        elif storage_class:
            spec["storageClassName"] = storage_class
        self.kubectl.create(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        )
        return name

    def path(self, name: str) -> Path:
        """The claim's folder on this machine."""
        assert self.folder, "the claims of this cluster are not on this machine"
        return self.folder / self.namespace / name

    def volume(self, name: str, size: str) -> str:
        """A static volume for this claim only. Its folder is open to everybody: fsGroup is not applied to hostPath."""
        folder = self.path(name)
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        volume = f"{self.namespace}-{name}"
        self.volumes.append(volume)
        self.kubectl.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    "capacity": {"storage": size},
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "manual",
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "claimRef": {"namespace": self.namespace, "name": name},
                },
            }
        )
        return volume

    def remove(self) -> None:
        """The volumes and what was written to them; pods of the namespace may still be ending."""
        for volume in self.volumes:
            self.kubectl.delete("persistentvolume", volume, "--wait=false")
        if self.folder:
            shutil.rmtree(self.folder / self.namespace, ignore_errors=True)
