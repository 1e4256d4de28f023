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


def hello(worker: int, incarnation: str, attempt: int) -> pb.Attendance:
    return pb.Attendance(
        hello=pb.Hello(
            protocols=[1],
            worker=worker,
            incarnation=incarnation,
            attempt=attempt,
            address=f"127.0.0.1:{worker}",
        )
    )


def message(words: list[str], epoch: pb.Epoch) -> pb.Attendance:
    """What a line of stdin tells the coordinator."""
    match words:
        case ["leave"]:
            return pb.Attendance(leaving=pb.Leaving(reason="told"))
        case ["result"]:
            return pb.Attendance(result=pb.Result(json=b'{"step": 7}'))
        case ["lost", rank]:
            return pb.Attendance(peer_lost=pb.PeerLost(epoch=epoch, rank=int(rank), reason="reset"))
        case ["step", step, phase, op]:
            progress = pb.Progress(
                phase=pb.Progress.Phase.Value(phase),
                step=int(step),
                total_steps=100,
                entered_op=int(op),
                in_view=epoch,
                has_state=True,
            )
            return pb.Attendance(progress=progress)
    raise SystemExit(f"member_peer: what is {words}?")


def told(directive: pb.Directive) -> dict[str, object]:
    """A directive as plain data."""
    kind = directive.WhichOneof("directive")
    if kind != "view":
        return {"kind": kind}
    view = directive.view
    return {
        "kind": kind,
        "number": view.epoch.number,
        "term": view.epoch.term,
        "workers": [m.worker for m in view.members],
        "rank": view.your_rank,
        "leader": view.leader,
        "urgent": view.urgent,
        "key": view.key.decode(),
    }


def main() -> None:
    address, token, worker, incarnation, *rest = sys.argv[1:]
    outgoing: queue.Queue[pb.Attendance | None] = queue.Queue()
    outgoing.put(hello(int(worker), incarnation, int(rest[0]) if rest else 0))
    epoch = pb.Epoch()

    def send() -> Iterator[pb.Attendance]:
        while (each := outgoing.get()) is not None:
            yield each

    def read_stdin() -> None:
        for line in sys.stdin:
            outgoing.put(message(line.split(), epoch))
        outgoing.put(None)

    threading.Thread(target=read_stdin, daemon=True).start()
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    try:
        for directive in rpc.CoordinatorStub(channel).Attend(send(), metadata=(("authorization", f"Bearer {token}"),)):
            if directive.WhichOneof("directive") == "view":
                epoch.CopyFrom(directive.view.epoch)
            print(json.dumps(told(directive)), flush=True)
        print(json.dumps({"kind": "end"}), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"kind": "error", "code": error.code().name, "details": error.details()}), flush=True)


if __name__ == "__main__":
    main()
