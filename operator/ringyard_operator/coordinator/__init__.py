"""The coordinator: the gRPC service that members and agents talk to, over the pure cores that decide.

Used by the local supervisor, and by the operator's Lease holder on a cluster. It holds soft state only: a new one,
with a higher term, rebuilds it from the members that come back.
"""

from ringyard_operator.coordinator.callers import Authenticate, Caller, CannotTell, one_token
from ringyard_operator.coordinator.job import Coordinator, CoordinatorSeen
from ringyard_operator.coordinator.server import CoordinatorServer

__all__ = ["Authenticate", "Caller", "CannotTell", "Coordinator", "CoordinatorSeen", "CoordinatorServer", "one_token"]
