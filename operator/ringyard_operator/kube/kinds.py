"""The kinds of objects that Ringyard reads and writes, and where the API server keeps them.

Named by everybody in `kube` and by the command line on a cluster. It knows paths and nothing of what the objects mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ringyard_api.about import API_VERSION

_GROUP, _VERSION = API_VERSION.split("/")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind as the API server names it; `group` is empty for the core."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name that kubectl takes for it: `pods`, `trainingjobs.ringyard.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of an object, or without `name` of the collection; without `namespace` that of all namespaces."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)


PODS: Final = Kind(group="", version="v1", plural="pods", kind="Pod")
SERVICES: Final = Kind(group="", version="v1", plural="services", kind="Service")
CONFIG_MAPS: Final = Kind(group="", version="v1", plural="configmaps", kind="ConfigMap")
SECRETS: Final = Kind(group="", version="v1", plural="secrets", kind="Secret")
EVENTS: Final = Kind(group="", version="v1", plural="events", kind="Event")
NAMESPACES: Final = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
NODES: Final = Kind(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
PERSISTENT_VOLUME_CLAIMS: Final = Kind(
    group="", version="v1", plural="persistentvolumeclaims", kind="PersistentVolumeClaim"
)
LEASES: Final = Kind(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
ENDPOINT_SLICES: Final = Kind(group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice")
POD_DISRUPTION_BUDGETS: Final = Kind(
    group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget"
)
DEPLOYMENTS: Final = Kind(group="apps", version="v1", plural="deployments", kind="Deployment")
TRAINING_JOBS: Final = Kind(group=_GROUP, version=_VERSION, plural="trainingjobs", kind="TrainingJob")
MODEL_ENDPOINTS: Final = Kind(group=_GROUP, version=_VERSION, plural="modelendpoints", kind="ModelEndpoint")
TOKEN_REVIEWS: Final = Kind(
    group="authentication.k8s.io", version="v1", plural="tokenreviews", kind="TokenReview", namespaced=False
)
