"""The peer of `bench.py`: the same model, data, batch and optimizer under torchrun's DDP with gloo; seconds a step.

    torchrun --nproc-per-node 3 bench/ddp_digits.py OUT.json

Written as PyTorch's own tutorial does it: DistributedDataParallel, each rank its share of the global batch of 64.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from ringyard_trainer.sources import read
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH = 64
WARM_UP = 200
STEPS = 2000


def main(out: Path) -> None:
    """Trains and, on rank 0, writes {"step_seconds": mean over STEPS steps}."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    table = read("sklearn://digits")
    columns = [column for name, column in table.columns.items() if name != table.label]
    rows = torch.tensor(columns, dtype=torch.float32).T.contiguous()
    labels = torch.tensor(table.columns[table.label or ""], dtype=torch.int64)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002)
    order = torch.Generator().manual_seed(0)
    begun = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            dist.barrier()
            begun = time.perf_counter()
        mine = torch.randperm(len(rows), generator=order)[:BATCH][rank::size]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(rows[mine]), labels[mine]).backward()
        optimizer.step()
    dist.barrier()
    if rank == 0:
        out.write_text(json.dumps({"step_seconds": (time.perf_counter() - begun) / STEPS}))
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    main(Path(sys.argv[1]))
