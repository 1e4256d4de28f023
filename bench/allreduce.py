"""AllReduce of the gang against gloo: the same sizes, the same member count, processes of one run, loopback. Medians.

    python bench/allreduce.py [--members 2 3] [--sizes 4096 65536 1048576 16777216] [--json FILE]

Each member process joins both groups and takes turns, so both meet the same noise of the machine. fp32, sums checked.
The figure that counts is the ratio (gloo's time / ours; above 1 we are faster).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20)


def rounds_of(size: int) -> tuple[int, int]:
    """Blocks that alternate, and repeats within one."""
    return (7, 40) if size <= 64 << 10 else (7, 10) if size <= 1 << 20 else (5, 3)


def member(rank: int, size: int, sizes: list[int], gloo_port: int, folder: Path) -> None:
    """One process: joins both groups, measures; rank 0 prints its medians as JSON."""
    import numpy as np
    import torch
    import torch.distributed as dist
    from ringyard_trainer.collective.engine import Engine
    from ringyard_trainer.collective.grpc_transport import GrpcTransport
    from ringyard_trainer.collective.session import Session
    from ringyard_trainer.collective.view import Epoch, Member, View

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{gloo_port}", rank=rank, world_size=size)
    transport = GrpcTransport()
    addresses: list[str] = [""] * size
    dist.all_gather_object(addresses, transport.address)
    members = tuple(Member(rank=r, address=a) for r, a in enumerate(addresses))
    view = View(epoch=Epoch(1, 1), rank=rank, leader=0, members=members, key=b"bench")
    session = Session(view)
    engine = Engine(session, transport.open(view, session))
    figures: dict[str, dict[str, float]] = {}
    for nbytes in sizes:
        own = np.arange(nbytes // 4, dtype=np.float32) % 100 + rank
        expected = sum(np.arange(nbytes // 4, dtype=np.float32) % 100 + r for r in range(size))
        ways = {
            "ringyard": engine.allreduce,
            "gloo": lambda array: dist.all_reduce(torch.from_numpy(array)),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        blocks, repeats = rounds_of(nbytes)
        for block in range(blocks + 1):
            for name, reduce in ways.items():
                for _ in range(repeats):
                    array = own.copy()
                    start = time.perf_counter()
                    reduce(array)
                    if block:  # the first is a warm-up
                        taken[name].append(time.perf_counter() - start)
                assert np.array_equal(array, expected), name
                engine.barrier()
        figures[str(nbytes)] = {name: statistics.median(times) for name, times in taken.items()}
    if rank == 0:
        (folder / "figures.json").write_text(json.dumps(figures))
    dist.barrier()
    session.close()
    transport.close()
    dist.destroy_process_group()


def measure(size: int, sizes: list[int], folder: Path) -> dict[str, dict[str, float]]:
    """Runs `size` member processes; seconds by bytes and way."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, __file__, "--folder", str(folder), "--gloo-port", str(port), "--sizes", *map(str, sizes)]
    processes = [
        subprocess.Popen([*command, "--rank", str(rank), "--members", str(size)], env=environment)
        for rank in range(size)
    ]
    try:
        for process in processes:
            if process.wait(300):
                raise SystemExit(f"a member ended with {process.returncode}")
    finally:
        for process in processes:
            process.kill()
    figures: dict[str, dict[str, float]] = json.loads((folder / "figures.json").read_text())
    return figures


def main() -> None:
    """Measures and prints a table."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--members", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    for hidden in ("--rank", "--gloo-port"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.rank is not None:
        member(said.rank, said.members[0], said.sizes, said.gloo_port, said.folder)
        return
    rows = []
    for size in said.members:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(size, said.sizes, Path(folder))
        for nbytes, by_way in figures.items():
            rows.append({"members": size, "bytes": int(nbytes), **by_way, "ratio": by_way["gloo"] / by_way["ringyard"]})
    print("| members | size | gloo ms | ringyard ms | ratio |\n|---|---|---|---|---|")
    for row in rows:
        kib = row["bytes"] / 1024
        named = f"{kib:g} KiB" if kib < 1024 else f"{kib / 1024:g} MiB"
        gloo, ours = row["gloo"] * 1e3, row["ringyard"] * 1e3
        print(f"| {row['members']} | {named} | {gloo:.2f} | {ours:.2f} | {row['ratio']:.2f} |")
    if said.json:
        said.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
