"""Your own checkpoints in plain torch: where, how often, and by SIGTERM when at once. Nothing of Paceline is imported.

PACELINE_CHECKPOINT_DIR=/tmp/own PACELINE_CHECKPOINT_EVERY_STEPS=50 torchrun --nproc-per-node 2 own_checkpoints.py
"""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

STEPS = 600
FOLDER, EVERY = os.environ["PACELINE_CHECKPOINT_DIR"], int(os.environ["PACELINE_CHECKPOINT_EVERY_STEPS"])
stop = torch.zeros(1)
signal.signal(signal.SIGTERM, lambda *_: stop.fill_(1))


def save(path: str, state: dict[str, object]) -> None:
    os.makedirs(FOLDER, exist_ok=True)
    with open(f"{path}.partial", "wb") as file:
        torch.save(state, file)
        os.fsync(file.fileno())
    os.replace(f"{path}.partial", path)  # whole or not at all


def main() -> None:
    dist.init_process_group("gloo")
    rank, path, done = dist.get_rank(), f"{FOLDER}/last.pt", 0
    model = DistributedDataParallel(torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    if os.path.exists(path):
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
        print(f"rank {rank} resumes from step {done}", flush=True)
    for step in range(done + 1, STEPS + 1):
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(step * 1000 + rank))
        loss = (model(x).squeeze() - x.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(0.05)  # stands for work
        told = stop.clone()
        dist.all_reduce(told)  # SIGTERM comes at different moments: this makes all stop at the same step
        if rank == 0 and (told or step % EVERY == 0 or step == STEPS):
            save(path, {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
        if rank == 0 and (told or step % 10 == 0):
            print(f"step={step}/{STEPS} loss={loss.item():.4f}", flush=True)
        if told:
            dist.barrier()  # nobody leaves before the file is there
            sys.exit(143)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
