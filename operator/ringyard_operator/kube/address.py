"""Where workers find the coordinator: the Service without a selector gets its one address from the Lease holder.

Called by `office` when it has begun to serve. Open connections of workers end with the one who served before; their
next dial comes here. It knows no job.
"""

from __future__ import annotations

import ipaddress

from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import ENDPOINT_SLICES, SERVICES

MANAGER = "ringyard-coordinator"


async def publish_address(api: Api, *, namespace: str, service: str, ip: str, port: int) -> None:
    """Makes `ip` the only address of the Service's one port. Raises KubeError, also where there is no such Service.

    A slice never changes its address type, so each family has one of its own.
    """
    wanted = (await api.get(SERVICES, service, namespace))["spec"]["ports"][0]
    family = "IPv6" if ipaddress.ip_address(ip).version == 6 else "IPv4"
    body = {
        "metadata": {
            "name": service if family == "IPv4" else f"{service}-v6",
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "ringyard.dev",
                "app.kubernetes.io/name": "ringyard",
                "app.kubernetes.io/managed-by": "ringyard",
            },
        },
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": [{"name": wanted.get("name", ""), "port": port, "protocol": "TCP"}],
    }
    await api.apply(ENDPOINT_SLICES, body, manager=MANAGER)
