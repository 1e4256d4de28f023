"""The one gRPC server that members and agents of all jobs talk to; each job's own coordinator is opened in it.

Made by the local supervisor for its one job, and by the operator's Lease holder for all of them. All methods belong on
the event loop. It decides nothing: who may speak is the authenticator's word, what is said is the group's business.
"""

from __future__ import annotations

import grpc
from ringyard_api.protos import coordinator_pb2_grpc as rpc

from ringyard_operator.coordinator.callers import Authenticate
from ringyard_operator.coordinator.job import Coordinator
from ringyard_operator.coordinator.servicer import Servicer

# A frozen member answers no ping: it is out 2 to 3 s later (measured 2.3 s, grpcio 1.85). Since grpcio 1.60 or so it is
# `ping_timeout_ms` (60 s by default) that counts, because a keepalive often rides on a ping that is under way already.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_time_between_pings_ms", 300),
    ("grpc.http2.min_ping_interval_without_data_ms", 300),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 300),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1 << 20),
)


class CoordinatorServer:
    """One server, many jobs. A job that is not open is answered UNAVAILABLE, so that its workers ask again."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._servicer = Servicer(authenticate)
        self._server: grpc.aio.Server | None = None

    async def start(self, bind: str = "127.0.0.1:0") -> str:
        """Serves; the answer is host:port with the port that was got. `OSError` if the address cannot be had."""
        server = grpc.aio.server(options=OPTIONS)
        rpc.add_CoordinatorServicer_to_server(self._servicer, server)
        try:
            port = server.add_insecure_port(bind)
        except RuntimeError as error:
            raise OSError(f"the coordinator cannot listen at {bind}: {error}") from error
        await server.start()
        self._server = server
        return f"{bind.rsplit(':', 1)[0]}:{port}"

    async def stop(self, grace: float = 0.5) -> None:
        """Closes all jobs and ends the server; members go on training without it."""
        self.drop()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace)

    def open(self, coordinator: Coordinator) -> None:
        """Serves this job from now on, in place of an older coordinator of it."""
        self.close(coordinator.uid)
        self._servicer.groups[coordinator.uid] = coordinator.group

    def close(self, job_uid: str) -> None:
        """Ends the job's streams and its clock. Its workers go on, and ask again until somebody opens it."""
        group = self._servicer.groups.pop(job_uid, None)
        if group is not None:
            group.close()

    def drop(self) -> None:
        """Closes all jobs at once: the Lease has lapsed, so another may lead by now. Who leads again opens them
        anew, with a higher term.
        """
        for job_uid in list(self._servicer.groups):
            self.close(job_uid)
