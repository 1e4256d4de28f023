"""The coordinator: the gRPC service that members and agents of one job talk to, over the pure cores that decide.

Used by the local supervisor, and by the operator's Lease holder on a cluster. It holds soft state only: a new one,
with a higher term, rebuilds it from the members that come back.
"""

from ringyard_operator.coordinator.server import Coordinator, CoordinatorSeen

__all__ = ["Coordinator", "CoordinatorSeen"]
