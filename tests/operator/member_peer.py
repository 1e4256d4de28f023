"""A member as a real gRPC peer in a process of its own: attends, prints every directive as a line of JSON.

Started by test_coordinator.py: `python member_peer.py ADDRESS TOKEN WORKER INCARNATION [ATTEMPT]`; lines on stdin:
`leave`, `result`, `lost RANK`, `step N PHASE OP`; the end of stdin ends the stream.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator

import grpc
from ringyard_api.protos import coordinator_pb2 as pb
from ringyard_api.protos import coordinator_pb2_grpc as rpc


def main() -> None:
    address, token, worker, incarnation = sys.argv[1:5]
    attempt = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    outgoing: queue.Queue[pb.Attendance | None] = queue.Queue()
    outgoing.put(
        pb.Attendance(
            hello=pb.Hello(
                protocols=[1],
                worker=int(worker),
                incarnation=incarnation,
                attempt=attempt,
                address=f"127.0.0.1:{worker}",
            )
        )
    )
    epoch = pb.Epoch()

    def send() -> Iterator[pb.Attendance]:
        while (message := outgoing.get()) is not None:
            yield message

    def read_stdin() -> None:
        for line in sys.stdin:
            words = line.split()
            if words[0] == "leave":
                outgoing.put(pb.Attendance(leaving=pb.Leaving(reason="told")))
            elif words[0] == "result":
                outgoing.put(pb.Attendance(result=pb.Result(json=b'{"step": 7}')))
            elif words[0] == "lost":
                outgoing.put(pb.Attendance(peer_lost=pb.PeerLost(epoch=epoch, rank=int(words[1]), reason="reset")))
            elif words[0] == "step":
                phase = pb.Progress.Phase.Value(words[2])
                progress = pb.Progress(
                    phase=phase,
                    step=int(words[1]),
                    total_steps=100,
                    entered_op=int(words[3]),
                    in_view=epoch,
                    has_state=True,
                )
                outgoing.put(pb.Attendance(progress=progress))
        outgoing.put(None)

    threading.Thread(target=read_stdin, daemon=True).start()
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    try:
        for directive in rpc.CoordinatorStub(channel).Attend(send(), metadata=(("authorization", f"Bearer {token}"),)):
            kind = directive.WhichOneof("directive")
            told: dict[str, object] = {"kind": kind}
            if kind == "view":
                view = directive.view
                epoch.CopyFrom(view.epoch)
                told |= {
                    "number": view.epoch.number,
                    "term": view.epoch.term,
                    "workers": [m.worker for m in view.members],
                    "rank": view.your_rank,
                    "leader": view.leader,
                    "urgent": view.urgent,
                    "key": view.key.decode(),
                }
            print(json.dumps(told), flush=True)
        print(json.dumps({"kind": "end"}), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"kind": "error", "code": error.code().name, "details": error.details()}), flush=True)


if __name__ == "__main__":
    main()
