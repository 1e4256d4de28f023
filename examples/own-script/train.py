"""A plain PyTorch DDP script: nothing in it knows Ringyard, and `torchrun train.py` runs it as well.

Its three duties are those of any script that wants to survive: read RANK and friends from the environment (that is what
`init_process_group` does), save a checkpoint now and then, and begin from the newest one.
"""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_wine
from torch import nn
from torch.nn.parallel import DistributedDataParallel

EPOCHS = 30
FOLDER = Path(os.environ.get("RINGYARD_RUN_DIR", "."))
CHECKPOINT = FOLDER / "checkpoints" / "script.pt"
MODEL = Path(os.environ.get("RINGYARD_MODEL_DIR", FOLDER / "model"))


def save(path: Path, state: dict) -> None:
    """Writes beside and renames: a script that is killed here leaves the checkpoint before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def main() -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)

    rows, labels = (torch.as_tensor(array) for array in load_wine(return_X_y=True))
    rows = ((rows - rows.mean(0)) / rows.std(0)).float()
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    begun = 0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        begun = saved["epoch"]
        print(f"rank {rank} goes on at epoch {begun}", flush=True)

    replica = DistributedDataParallel(model)
    for epoch in range(begun, EPOCHS):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))[rank::size]
        for batch in order.split(16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(replica(rows[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        if rank == 0 and (epoch + 1) % 5 == 0:
            save(CHECKPOINT, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1})
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)
    if rank == 0:
        accuracy = (model(rows).argmax(1) == labels).float().mean().item()
        save(MODEL / "weights.pt", model.state_dict())
        print(f"accuracy on the train part {accuracy:.3f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
