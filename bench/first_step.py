"""What `cluster.py` runs in pods: an unchanged DDP script and the same model for a declared fit. Both tell their steps.

    python first_step.py            # every rank; RANK, WORLD_SIZE and MASTER_* come from whoever started it

It prints `STEP n UNIX_SECONDS` after each of the first steps, and then trains on until it is ended.
"""

from __future__ import annotations

import os
import time

import torch
from torch import nn

TOLD = 400  # steps that are told; later ones would only fill the log
PAUSE = float(os.environ.get("PAUSE", "0.02"))


class Told(nn.Sequential):
    """digits' perceptron that tells of each step: a forward pass in training begins when the step before is done."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.passes = 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """As any Sequential, with a pause and a line."""
        if self.training:
            if 0 < self.passes <= TOLD:
                print(f"STEP {self.passes} {time.time():.3f}", flush=True)
            self.passes += 1
            time.sleep(PAUSE)
        return torch.as_tensor(super().forward(rows))


def build() -> nn.Module:
    """The factory of the declared fit."""
    return Told()


def main() -> None:
    """The script: data, DDP over gloo, steps without end."""
    import torch.distributed as dist
    from ringyard_trainer.sources import read
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    table = read("sklearn://digits")
    columns = [column for name, column in table.columns.items() if name != table.label]
    rows = torch.tensor(columns, dtype=torch.float32).T.contiguous()
    labels = torch.tensor(table.columns[table.label or ""], dtype=torch.int64)
    model = DistributedDataParallel(Told())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002)
    order = torch.Generator().manual_seed(0)
    while True:
        mine = torch.randperm(len(rows), generator=order)[:64][rank::size]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(rows[mine]), labels[mine]).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
