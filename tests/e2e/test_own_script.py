"""An unchanged torch.distributed script by `command`: scaled and killed, it goes on from its own checkpoint."""

from __future__ import annotations

import os
import signal

from laptop import Laptop

SCRIPT = """\
import os, pathlib, time
import torch, torch.distributed as dist

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
folder = pathlib.Path(os.environ["RINGYARD_RUN_DIR"])
folder.mkdir(parents=True, exist_ok=True)
saved = folder / "step"
begun = torch.tensor([int(saved.read_text()) if saved.exists() else 0])
dist.broadcast(begun, 0)
print(f"rank {rank} of {size} begins at {begun.item()}", flush=True)
step = begun.item()
while not pathlib.Path("enough").exists() or step < 20:
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == size
    step += 1
    if rank == 0:
        (folder / "step.new").write_text(str(step))
        (folder / "step.new").rename(saved)
    enough = torch.tensor([float(pathlib.Path("enough").exists())])
    dist.broadcast(enough, 0)
    if enough.item() and step >= 20:
        break
    time.sleep(0.05)
if rank == 0:
    model = pathlib.Path(os.environ["RINGYARD_MODEL_DIR"])
    model.mkdir(parents=True, exist_ok=True)
    (model / "weights").write_text(f"{size} ranks, {step} steps")
dist.barrier()
"""
MANIFEST = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: script}
spec:
  workers: {replicas: 2, minReplicas: 2, maxReplicas: 3}
  code: {path: .}
  command: [python, train.py]
"""


def test_a_script_gang_is_scaled_and_survives_a_kill_with_one_failure_counted(machine: Laptop) -> None:
    (machine.folder / "train.py").write_text(SCRIPT)
    (machine.folder / "job.yaml").write_text(MANIFEST)
    process = machine.start("run", "job.yaml", "--no-serve")
    machine.until("two ranks work", lambda: "rank 0 of 2 begins at 0" in machine.log("script", 0))
    step = machine.until("steps are done", lambda: (f := machine.run_dir("script") / "step").exists() and f.read_text())

    assert machine.ringyard("scale", "script", "--replicas", "3").returncode == 0
    machine.until("three ranks work", lambda: "rank 2 of 3 begins at" in machine.log("script", 2))
    assert machine.status("script")["restarts"]["counted"] == 0, "scaling costs nothing"
    assert "rank 0 of 3 begins at 0" not in machine.log("script", 0), f"it had been at step {step}"

    os.kill(machine.agent("script", 1)["child_pid"], signal.SIGKILL)
    machine.until("all three begin anew", lambda: machine.log("script", 2).count("rank 2 of 3 begins at") == 2)
    (machine.folder / "enough").touch()
    assert process.wait(timeout=150) == 0, machine.story()
    assert machine.status("script")["restarts"]["counted"] == 1, "what died with the killed one is its consequence"
    assert (machine.run_dir("script") / "model" / "weights").read_text().startswith("3 ranks")
    machine.until("no process is left", lambda: not machine.processes(), 20)
